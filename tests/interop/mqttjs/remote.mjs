// Clients of mqtt.js that are controlled over HTTP: they fetch commands and post events. The script runs in Node, with
// the address as an argument, and in a page that was loaded from there.

import mqtt from "mqtt";

const home = globalThis.location?.href ?? process.argv[2];
const clients = new Map();
const toSay = [];
let isSaying = false;

// Bytes are encoded in the form that a Buffer has in JSON. A page has no Buffer, so an array of bytes is used there.
const makeBytes = (data) => (globalThis.Buffer ? Buffer.from(data) : Uint8Array.from(data));
const toJson = (_, value) => (value instanceof Uint8Array ? { type: "Buffer", data: [...value] } : value);
const fromJson = (_, value) => (value?.type === "Buffer" ? makeBytes(value.data) : value);

async function say(client, event, more) {
  toSay.push({ client, event, ...more });
  if (isSaying) return; // it is posted with the next events
  isSaying = true;
  while (toSay.length > 0) {
    const body = JSON.stringify(toSay.splice(0), toJson);
    await fetch(new URL("events", home), { method: "POST", body });
  }
  isSaying = false;
}

const commands = {
  open(name, { url, options }) {
    const client = mqtt.connect(url, options);
    clients.set(name, client);
    client.on("connect", ({ sessionPresent, reasonCode, properties }) =>
      say(name, "connected", { sessionPresent, reasonCode, properties }),
    );
    client.on("message", (topic, payload, { qos, retain, dup, properties }) =>
      say(name, "message", { topic, payload: payload.toString(), qos, retain, dup, properties }),
    );
    client.on("disconnect", ({ reasonCode }) => say(name, "told to go", { reasonCode }));
    client.on("close", () => say(name, "closed"));
    client.on("error", (error) => say(name, "error", { code: error.code, text: String(error) }));
  },
  subscribe(name, { topics, options }) {
    clients.get(name).subscribe(topics, options, (error, granted, packet) =>
      say(name, "granted", { error: error && String(error), codes: packet?.granted ?? granted?.map(({ qos }) => qos) }),
    );
  },
  unsubscribe(name, { topics }) {
    clients.get(name).unsubscribe(topics, (error, packet) =>
      say(name, "removed", { error: error && String(error), codes: packet?.granted }),
    );
  },
  publish(name, { number, topic, payload, options }) {
    clients.get(name).publish(topic, payload, options, (error, packet) =>
      say(name, "published", { number, error: error && String(error), code: error ? error.code : packet?.reasonCode }),
    );
  },
  // Ends the connection without DISCONNECT.
  cut(name) {
    clients.get(name).stream.destroy();
  },
  end(name) {
    clients.get(name).end(false, {}, () => say(name, "ended"));
  },
  forget(name) {
    clients.get(name)?.end(true);
    clients.delete(name);
  },
};

try {
  await say(null, "ready", { on: globalThis.navigator?.userAgent });
  for (;;) {
    const answer = await fetch(new URL("commands", home), { cache: "no-store" });
    for (const { what, client, ...more } of JSON.parse(await answer.text(), fromJson)) {
      commands[what](client, more);
    }
  }
} catch (error) {
  await say(null, "error", { text: String(error.stack ?? error) });
}

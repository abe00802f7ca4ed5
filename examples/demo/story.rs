//! The exchange, packet by packet. Each packet is expected by its type: if an endpoint sends anything else, the demo
//! ends with an error.

use std::io::Write;
use std::num::NonZeroU16;

use anyhow::{Result, ensure};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::{Disconnect, PacketType, Subscription};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Message, QoS, SessionExpiry, TopicFilter};

use crate::stage::End::{Client, Server};
use crate::stage::Stage;

/// Runs the exchange and prints it.
pub(crate) fn tell(out: &mut impl Write, colour: bool) -> Result<()> {
    let client = ClientConfig {
        client_id: "thermo-7".into(),
        session_expiry_interval: SessionExpiry::after(3600),
        keep_alive: NonZeroU16::new(30),
        ..ClientConfig::default()
    };
    let mut stage = Stage::new(out, colour, client, ServerConfig::default());

    connect(&mut stage)?;
    subscribe(&mut stage)?;
    from_the_client(&mut stage)?;
    from_the_server(&mut stage)?;
    silence(&mut stage)?;
    cut(&mut stage)?;
    resume(&mut stage)?;
    leave(&mut stage)?;

    let times = stage.times_received("home/door");
    ensure!(times == 1, "the message in flight during the cut was delivered {times} times");
    stage.say("The message that was in flight during the cut was delivered once, and no delivery is unfinished.")
}

fn connect(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The client connects")?;
    stage.open()?;
    stage.pass(
        Client,
        PacketType::Connect,
        "The client opens a connection and asks for a session that outlives it by an hour.",
    )?;
    stage.pass(
        Server,
        PacketType::ConnAck,
        "The server's application has accepted the client. No session is present.",
    )?;
    stage.is_quiet()
}

fn subscribe(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The client subscribes")?;
    stage.client.subscribe(stage.now, &[Subscription::new("home/thermo-7/#", QoS::ExactlyOnce)?])?;
    stage.pass(Client, PacketType::Subscribe, "The client subscribes with a maximum QoS of 2.")?;
    stage.pass(
        Server,
        PacketType::SubAck,
        "The server's application has granted the subscription, with a reason code for each filter.",
    )?;
    stage.is_quiet()
}

fn from_the_client(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("Messages from the client")?;
    stage.client.publish(stage.now, &Message::new("home/kitchen/temp", "21.5"))?;
    stage.pass(
        Client,
        PacketType::Publish,
        "QoS 0: the message is sent once and not stored. It has no packet identifier.",
    )?;

    stage.client.publish(stage.now, &Message::new("home/kitchen/alarm", "smoke").qos(QoS::AtLeastOnce))?;
    stage.pass(
        Client,
        PacketType::Publish,
        "QoS 1: the message is stored until it is acknowledged, under a packet identifier.",
    )?;
    stage.pass(Server, PacketType::PubAck, "The server has the message. The client discards its copy.")?;

    stage.client.publish(stage.now, &Message::new("home/kitchen/meter", "17 kWh").qos(QoS::ExactlyOnce))?;
    stage.pass(
        Client,
        PacketType::Publish,
        "QoS 2: the message is stored as well, and must not be delivered twice.",
    )?;
    stage.pass(
        Server,
        PacketType::PubRec,
        "The server has the message, and stores its packet identifier to recognize duplicates.",
    )?;
    stage.pass(Client, PacketType::PubRel, "The client discards the message and will not send it again.")?;
    stage.pass(
        Server,
        PacketType::PubComp,
        "The server discards the identifier, which is now free for another message.",
    )?;
    stage.is_quiet()
}

fn from_the_server(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("Messages from the server")?;
    let now = stage.now;
    let session = stage.session()?;
    session.publish(now, &Message::new("home/thermo-7/light", "on"))?;
    session.publish(now, &Message::new("home/thermo-7/set", "19.0").qos(QoS::AtLeastOnce))?;
    session.publish(now, &Message::new("home/thermo-7/update", "2.1").qos(QoS::ExactlyOnce))?;
    stage.pass(Server, PacketType::Publish, "QoS 0 to a subscriber.")?;
    stage.pass(
        Server,
        PacketType::Publish,
        "QoS 1. The server has its own packet identifiers: this 1 is not the client's.",
    )?;
    stage.pass(
        Server,
        PacketType::Publish,
        "QoS 2. It is sent while the message before it is still unacknowledged.",
    )?;
    stage.pass(Client, PacketType::PubAck, "The client has the message of QoS 1.")?;
    stage.pass(Client, PacketType::PubRec, "The client has the message of QoS 2, and stores its packet identifier.")?;
    stage.pass(Server, PacketType::PubRel, "The server discards the message and will not send it again.")?;
    stage.pass(Client, PacketType::PubComp, "The client discards the identifier.")?;
    stage.is_quiet()
}

fn silence(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("Nothing happens")?;
    stage.wait()?;
    stage.pass(
        Client,
        PacketType::PingReq,
        "The Keep Alive of 30 s has nearly passed, so the client shows that it is alive.",
    )?;
    stage.pass(Server, PacketType::PingResp, "The server shows that it is alive as well.")?;
    stage.is_quiet()
}

fn cut(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The connection is cut")?;
    stage.client.publish(stage.now, &Message::new("home/door", "open").qos(QoS::ExactlyOnce))?;
    stage.pass(Client, PacketType::Publish, "Another message of QoS 2.")?;
    stage.lose(
        Server,
        PacketType::PubRec,
        "The server has the message, but the connection is lost before the client receives PUBREC.",
    )?;
    stage.cut()?;
    stage.is_quiet()
}

fn resume(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The client comes back")?;
    stage.open()?;
    stage.pass(Client, PacketType::Connect, "The same client, without Clean Start: it resumes its session.")?;
    stage.pass(Server, PacketType::ConnAck, "The session is present, so the client need not subscribe again.")?;
    stage.pass(
        Client,
        PacketType::Publish,
        "The message may be lost, so it is sent again: with DUP and the same identifier.",
    )?;
    stage.pass(
        Server,
        PacketType::PubRec,
        "The server recognizes the identifier: the message is acknowledged and not delivered again.",
    )?;
    stage.pass(Client, PacketType::PubRel, "The delivery continues as usual.")?;
    stage.pass(Server, PacketType::PubComp, "The delivery is complete.")?;
    stage.is_quiet()
}

fn leave(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The client leaves")?;
    stage.client.unsubscribe(stage.now, &[TopicFilter::new("home/thermo-7/#")?])?;
    stage.pass(Client, PacketType::Unsubscribe, "The client ends its subscription.")?;
    stage.pass(Server, PacketType::UnsubAck, "The server's application has removed the subscription.")?;
    stage.client.disconnect(stage.now, &Disconnect::default())?;
    stage.pass(
        Client,
        PacketType::Disconnect,
        "The client disconnects normally: a will, if it had one, would be discarded.",
    )?;
    stage.close()
}

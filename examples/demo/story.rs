//! What happens, packet by packet. Each packet is asked for by its type: if one of the ends sends anything else, the
//! story ends with an error.

use std::io::Write;
use std::num::NonZeroU16;

use anyhow::{Result, ensure};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::{Disconnect, PacketType, Subscription};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Message, QoS, SessionExpiry, TopicFilter};

use crate::stage::End::{Client, Server};
use crate::stage::Stage;

/// Tells the story.
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
    ensure!(times == 1, "the message of the cut flow was delivered {times} times");
    stage.say("The message of the cut flow was delivered once, and nothing is open at either end.")
}

fn connect(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The client connects")?;
    stage.open()?;
    stage.pass(Client, PacketType::Connect, "A connection begins. The session is to outlive it by an hour.")?;
    stage.pass(Server, PacketType::ConnAck, "The server's program has accepted. Nothing was kept from before.")?;
    stage.is_quiet()
}

fn subscribe(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The client subscribes")?;
    stage.client.subscribe(stage.now, &[Subscription::new("home/thermo-7/#", QoS::ExactlyOnce)?])?;
    stage.pass(Client, PacketType::Subscribe, "It asks for messages, up to QoS 2.")?;
    stage.pass(Server, PacketType::SubAck, "The server's program has granted that, with a code for each filter.")?;
    stage.is_quiet()
}

fn from_the_client(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("Messages from the client")?;
    stage.client.publish(stage.now, &Message::new("home/kitchen/temp", "21.5"))?;
    stage.pass(Client, PacketType::Publish, "QoS 0: sent, and forgotten. It has no packet identifier.")?;

    stage.client.publish(stage.now, &Message::new("home/kitchen/alarm", "smoke").qos(QoS::AtLeastOnce))?;
    stage.pass(Client, PacketType::Publish, "QoS 1: kept until it is acknowledged, under a packet identifier.")?;
    stage.pass(Server, PacketType::PubAck, "The server has it. The client keeps it no longer.")?;

    stage.client.publish(stage.now, &Message::new("home/kitchen/meter", "17 kWh").qos(QoS::ExactlyOnce))?;
    stage.pass(Client, PacketType::Publish, "QoS 2: kept too, and must not arrive twice.")?;
    stage.pass(Server, PacketType::PubRec, "The server has it, and notes the identifier to know it again.")?;
    stage.pass(Client, PacketType::PubRel, "The client keeps the message no longer, and will not send it again.")?;
    stage.pass(
        Server,
        PacketType::PubComp,
        "The server has forgotten the identifier. It is free for another message.",
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
    stage.pass(Server, PacketType::Publish, "QoS 0, to a subscriber.")?;
    stage.pass(
        Server,
        PacketType::Publish,
        "QoS 1. The server has identifiers of its own: this 1 is not the client's.",
    )?;
    stage.pass(Server, PacketType::Publish, "QoS 2. There is no need to wait for what is still open.")?;
    stage.pass(Client, PacketType::PubAck, "The client has the message of QoS 1.")?;
    stage.pass(Client, PacketType::PubRec, "The client has the message of QoS 2, and notes its identifier.")?;
    stage.pass(Server, PacketType::PubRel, "The server will not send it again.")?;
    stage.pass(Client, PacketType::PubComp, "The client has forgotten the identifier.")?;
    stage.is_quiet()
}

fn silence(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("Nothing happens")?;
    stage.wait()?;
    stage.pass(
        Client,
        PacketType::PingReq,
        "The keep-alive interval of 30 s is nearly over, and the client shows that it lives.",
    )?;
    stage.pass(Server, PacketType::PingResp, "So does the server.")?;
    stage.is_quiet()
}

fn cut(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The connection is cut")?;
    stage.client.publish(stage.now, &Message::new("home/door", "open").qos(QoS::ExactlyOnce))?;
    stage.pass(Client, PacketType::Publish, "QoS 2 once more.")?;
    stage.lose(
        Server,
        PacketType::PubRec,
        "The server has it, but now the connection breaks: the client never learns.",
    )?;
    stage.cut()?;
    stage.is_quiet()
}

fn resume(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The client comes back")?;
    stage.open()?;
    stage.pass(
        Client,
        PacketType::Connect,
        "The same client, and this time without Clean Start: it wants its session.",
    )?;
    stage.pass(
        Server,
        PacketType::ConnAck,
        "The server has kept the session, and says so. There is no need to subscribe.",
    )?;
    stage.pass(Client, PacketType::Publish, "The message again, for it may be lost: the same identifier, and DUP.")?;
    stage.pass(
        Server,
        PacketType::PubRec,
        "The identifier is noted: the message is not delivered again, only acknowledged.",
    )?;
    stage.pass(Client, PacketType::PubRel, "From here on it is as if nothing had happened.")?;
    stage.pass(Server, PacketType::PubComp, "The flow is complete.")?;
    stage.is_quiet()
}

fn leave(stage: &mut Stage<'_, impl Write>) -> Result<()> {
    stage.chapter("The client leaves")?;
    stage.client.unsubscribe(stage.now, &[TopicFilter::new("home/thermo-7/#")?])?;
    stage.pass(Client, PacketType::Unsubscribe, "It does not want those messages any more.")?;
    stage.pass(Server, PacketType::UnsubAck, "The server's program has ended the subscription.")?;
    stage.client.disconnect(stage.now, &Disconnect::default())?;
    stage.pass(
        Client,
        PacketType::Disconnect,
        "It ends the connection on purpose: had it left a will, that is void now.",
    )?;
    stage.close()
}

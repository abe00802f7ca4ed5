//! The identifiers and wire types of the properties (section 2.2.2.2).

use core::fmt;

/// The wire type of a property's value (section 2.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireType {
    /// Byte.
    Byte,
    /// Two Byte Integer.
    TwoByteInteger,
    /// Four Byte Integer.
    FourByteInteger,
    /// Variable Byte Integer.
    VariableByteInteger,
    /// UTF-8 Encoded String.
    Utf8String,
    /// UTF-8 String Pair.
    Utf8StringPair,
    /// Binary Data.
    BinaryData,
}

macro_rules! property_ids {
    ( $( $id:literal $property:ident $name:ident $wire_type:ident; )* ) => {
        /// A property of MQTT 5.0. The numbers are the identifiers on the wire.
        ///
        /// ```
        /// # use mqtt_sansio::codec::{PropertyId, WireType};
        /// let property = PropertyId::from_value(0x23).ok_or("there is none")?;
        /// assert_eq!((property.name(), property.value()), ("topic_alias", 0x23));
        /// assert_eq!(property.wire_type(), WireType::TwoByteInteger);
        /// # Ok::<(), &str>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $( #[doc = concat!("`", stringify!($id), "`: `", stringify!($name), "`.")] $property = $id, )*
        }

        impl PropertyId {
            /// All 27 properties, in ascending order of their identifiers.
            pub const ALL: &'static [Self] = &[ $( Self::$property, )* ];

            /// Returns the identifier on the wire.
            pub const fn value(self) -> u8 {
                self as u8
            }

            /// Returns the property with this identifier.
            pub const fn from_value(value: u8) -> Option<Self> {
                match value {
                    $( $id => Some(Self::$property), )*
                    _ => None,
                }
            }

            /// Returns the wire type of the value.
            #[inline]
            pub const fn wire_type(self) -> WireType {
                match self {
                    $( Self::$property => WireType::$wire_type, )*
                }
            }

            /// Returns the name in the specification, in `snake_case`.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$property => stringify!($name), )*
                }
            }
        }
    };
}

property_ids! {
    0x01 PayloadFormatIndicator payload_format_indicator Byte;
    0x02 MessageExpiryInterval message_expiry_interval FourByteInteger;
    0x03 ContentType content_type Utf8String;
    0x08 ResponseTopic response_topic Utf8String;
    0x09 CorrelationData correlation_data BinaryData;
    0x0B SubscriptionIdentifier subscription_identifier VariableByteInteger;
    0x11 SessionExpiryInterval session_expiry_interval FourByteInteger;
    0x12 AssignedClientIdentifier assigned_client_identifier Utf8String;
    0x13 ServerKeepAlive server_keep_alive TwoByteInteger;
    0x15 AuthenticationMethod authentication_method Utf8String;
    0x16 AuthenticationData authentication_data BinaryData;
    0x17 RequestProblemInformation request_problem_information Byte;
    0x18 WillDelayInterval will_delay_interval FourByteInteger;
    0x19 RequestResponseInformation request_response_information Byte;
    0x1A ResponseInformation response_information Utf8String;
    0x1C ServerReference server_reference Utf8String;
    0x1F ReasonString reason_string Utf8String;
    0x21 ReceiveMaximum receive_maximum TwoByteInteger;
    0x22 TopicAliasMaximum topic_alias_maximum TwoByteInteger;
    0x23 TopicAlias topic_alias TwoByteInteger;
    0x24 MaximumQoS maximum_qos Byte;
    0x25 RetainAvailable retain_available Byte;
    0x26 UserProperty user_property Utf8StringPair;
    0x27 MaximumPacketSize maximum_packet_size FourByteInteger;
    0x28 WildcardSubscriptionAvailable wildcard_subscription_available Byte;
    0x29 SubscriptionIdentifiersAvailable subscription_identifiers_available Byte;
    0x2A SharedSubscriptionAvailable shared_subscription_available Byte;
}

impl fmt::Display for PropertyId {
    /// Writes the name with spaces: `topic alias`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_words(self.name(), f)
    }
}

/// Writes a `snake_case` name with spaces.
pub(super) fn write_words(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut words = name.split('_');
    f.write_str(words.next().unwrap_or_default())?;
    words.try_for_each(|word| write!(f, " {word}"))
}

//! Reason codes (section 2.4), the packets that may carry them, and the return codes of 3.1 and 3.1.1.

use core::fmt;

use thiserror::Error;

use super::types::QoS;

/// Declares [`ReasonCode`], and for each packet type an enum of the codes that it may carry.
macro_rules! reason_codes {
    (
        $( $value:literal $name:ident $text:literal; )*
        $( $(#[$doc:meta])* $packet:ident { $( $legal:ident $(= $code:ident $name_here:literal)? ),* $(,)? } )*
    ) => {
        /// A reason code of MQTT 5.0, of any packet.
        ///
        /// The name of 0x00 is Success here; it is Granted QoS 0 in a SUBACK and Normal disconnection in a DISCONNECT.
        /// The type of the codes of each packet has the same methods, and conversions from and to this one:
        ///
        /// ```
        /// # use mqtt_sansio::codec::{PubAckReasonCode, ReasonCode};
        /// let code = PubAckReasonCode::from_value(0x97).ok_or("not in a PUBACK")?;
        /// assert_eq!((code.value(), code.name(), code.is_error()), (0x97, "Quota exceeded", true));
        /// assert_eq!(ReasonCode::from(code), ReasonCode::QuotaExceeded);
        /// assert!(PubAckReasonCode::try_from(ReasonCode::ServerBusy).is_err());
        /// assert_eq!(code.to_string(), "0x97 (Quota exceeded)");
        /// # Ok::<(), &str>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum ReasonCode {
            $( #[doc = concat!("`", stringify!($value), "`: ", $text, ".")] $name = $value, )*
        }

        impl ReasonCode {
            /// Returns the number on the wire.
            pub const fn value(self) -> u8 {
                self as u8
            }

            /// Returns the reason code with this number.
            pub const fn from_value(value: u8) -> Option<Self> {
                match value {
                    $( $value => Some(Self::$name), )*
                    _ => None,
                }
            }

            /// Returns the name in the specification.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => $text, )*
                }
            }

            /// Returns whether the code reports a failure: 0x80 and above.
            pub const fn is_error(self) -> bool {
                self.value() >= 0x80
            }
        }

        impl fmt::Display for ReasonCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#04x} ({})", self.value(), self.name())
            }
        }

        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            #[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
            #[non_exhaustive]
            #[repr(u8)]
            pub enum $packet {
                $(
                    #[doc = reason_codes!(@doc $legal $($code)?)]
                    $legal = reason_codes!(@code $legal $($code)?).value(),
                )*
            }

            impl $packet {
                /// All codes that the packet may carry, in ascending order.
                pub const ALL: &'static [Self] = &[ $( Self::$legal, )* ];

                /// Returns the number on the wire in MQTT 5.0.
                pub const fn value(self) -> u8 {
                    self as u8
                }

                /// Returns the reason code with this number; `None` if the packet may not carry it.
                #[inline]
                pub const fn from_value(value: u8) -> Option<Self> {
                    match value {
                        $( value if value == Self::$legal as u8 => Some(Self::$legal), )*
                        _ => None,
                    }
                }

                /// Returns the name that the specification gives it in this packet.
                pub const fn name(self) -> &'static str {
                    match self {
                        $( Self::$legal => reason_codes!(@name $legal $($name_here)?), )*
                    }
                }

                /// Returns whether the code reports a failure: 0x80 and above.
                pub const fn is_error(self) -> bool {
                    self.value() >= 0x80
                }
            }

            impl From<$packet> for ReasonCode {
                fn from(code: $packet) -> Self {
                    match code {
                        $( $packet::$legal => reason_codes!(@code $legal $($code)?), )*
                    }
                }
            }

            impl TryFrom<ReasonCode> for $packet {
                type Error = WrongReasonCode;

                fn try_from(code: ReasonCode) -> Result<Self, WrongReasonCode> {
                    Self::from_value(code.value()).ok_or(WrongReasonCode(code))
                }
            }

            impl fmt::Display for $packet {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "{:#04x} ({})", self.value(), self.name())
                }
            }
        )*
    };
    (@code $legal:ident) => { ReasonCode::$legal };
    (@code $legal:ident $code:ident) => { ReasonCode::$code };
    (@doc $legal:ident) => { concat!("See [`ReasonCode::", stringify!($legal), "`].") };
    (@doc $legal:ident $code:ident) => { concat!("[`ReasonCode::", stringify!($code), "`], as it is called here.") };
    (@name $legal:ident) => { ReasonCode::$legal.name() };
    (@name $legal:ident $name:literal) => { $name };
}

reason_codes! {
    0x00 Success "Success";
    0x01 GrantedQoS1 "Granted QoS 1";
    0x02 GrantedQoS2 "Granted QoS 2";
    0x04 DisconnectWithWillMessage "Disconnect with Will Message";
    0x10 NoMatchingSubscribers "No matching subscribers";
    0x11 NoSubscriptionExisted "No subscription existed";
    0x18 ContinueAuthentication "Continue authentication";
    0x19 ReAuthenticate "Re-authenticate";
    0x80 UnspecifiedError "Unspecified error";
    0x81 MalformedPacket "Malformed Packet";
    0x82 ProtocolError "Protocol Error";
    0x83 ImplementationSpecificError "Implementation specific error";
    0x84 UnsupportedProtocolVersion "Unsupported Protocol Version";
    0x85 ClientIdentifierNotValid "Client Identifier not valid";
    0x86 BadUserNameOrPassword "Bad User Name or Password";
    0x87 NotAuthorized "Not authorized";
    0x88 ServerUnavailable "Server unavailable";
    0x89 ServerBusy "Server busy";
    0x8A Banned "Banned";
    0x8B ServerShuttingDown "Server shutting down";
    0x8C BadAuthenticationMethod "Bad authentication method";
    0x8D KeepAliveTimeout "Keep Alive timeout";
    0x8E SessionTakenOver "Session taken over";
    0x8F TopicFilterInvalid "Topic Filter invalid";
    0x90 TopicNameInvalid "Topic Name invalid";
    0x91 PacketIdentifierInUse "Packet Identifier in use";
    0x92 PacketIdentifierNotFound "Packet Identifier not found";
    0x93 ReceiveMaximumExceeded "Receive Maximum exceeded";
    0x94 TopicAliasInvalid "Topic Alias invalid";
    0x95 PacketTooLarge "Packet too large";
    0x96 MessageRateTooHigh "Message rate too high";
    0x97 QuotaExceeded "Quota exceeded";
    0x98 AdministrativeAction "Administrative action";
    0x99 PayloadFormatInvalid "Payload format invalid";
    0x9A RetainNotSupported "Retain not supported";
    0x9B QoSNotSupported "QoS not supported";
    0x9C UseAnotherServer "Use another server";
    0x9D ServerMoved "Server moved";
    0x9E SharedSubscriptionsNotSupported "Shared Subscriptions not supported";
    0x9F ConnectionRateExceeded "Connection rate exceeded";
    0xA0 MaximumConnectTime "Maximum connect time";
    0xA1 SubscriptionIdentifiersNotSupported "Subscription Identifiers not supported";
    0xA2 WildcardSubscriptionsNotSupported "Wildcard Subscriptions not supported";

    /// A reason code of a CONNACK \[MQTT-3.2.2-8\].
    ///
    /// 3.1 and 3.1.1 have six of them, with other numbers: see [`return_code`](Self::return_code).
    ConnAckReasonCode {
        Success, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
        UnsupportedProtocolVersion, ClientIdentifierNotValid, BadUserNameOrPassword, NotAuthorized, ServerUnavailable,
        ServerBusy, Banned, BadAuthenticationMethod, TopicNameInvalid, PacketTooLarge, QuotaExceeded,
        PayloadFormatInvalid, RetainNotSupported, QoSNotSupported, UseAnotherServer, ServerMoved,
        ConnectionRateExceeded,
    }

    /// A reason code of a PUBACK or PUBREC: the outcome of a message of QoS 1 or 2 \[MQTT-3.4.2-1, MQTT-3.5.2-1\].
    PubAckReasonCode {
        Success, NoMatchingSubscribers, UnspecifiedError, ImplementationSpecificError, NotAuthorized, TopicNameInvalid,
        PacketIdentifierInUse, QuotaExceeded, PayloadFormatInvalid,
    }

    /// A reason code of a PUBREL or PUBCOMP: the outcome of the second half of a QoS 2 delivery \[MQTT-3.6.2-1,
    /// MQTT-3.7.2-1\].
    PubRelReasonCode { Success, PacketIdentifierNotFound }

    /// A reason code of a SUBACK: the outcome for one subscription \[MQTT-3.9.3-2\].
    ///
    /// 3.1.1 has the three grants, and 0x80, which it calls Failure. 3.1 has no failure, but 0x80 is accepted as in
    /// 3.1.1.
    SubAckReasonCode {
        GrantedQoS0 = Success "Granted QoS 0",
        GrantedQoS1, GrantedQoS2, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
        TopicFilterInvalid, PacketIdentifierInUse, QuotaExceeded, SharedSubscriptionsNotSupported,
        SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported,
    }

    /// A reason code of an UNSUBACK: the outcome for one topic filter \[MQTT-3.11.3-2\].
    UnsubAckReasonCode {
        Success, NoSubscriptionExisted, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
        TopicFilterInvalid, PacketIdentifierInUse,
    }

    /// A reason code of a DISCONNECT \[MQTT-3.14.2-1\].
    ///
    /// The codec does not check which endpoint may send which code. Bad authentication method is in the list of section
    /// 2.4 but not in that of section 3.14.2.1; it is accepted.
    DisconnectReasonCode {
        NormalDisconnection = Success "Normal disconnection",
        DisconnectWithWillMessage, UnspecifiedError, MalformedPacket, ProtocolError,
        ImplementationSpecificError, NotAuthorized, ServerBusy, ServerShuttingDown, BadAuthenticationMethod,
        KeepAliveTimeout, SessionTakenOver, TopicFilterInvalid, TopicNameInvalid, ReceiveMaximumExceeded,
        TopicAliasInvalid, PacketTooLarge, MessageRateTooHigh, QuotaExceeded, AdministrativeAction,
        PayloadFormatInvalid, RetainNotSupported, QoSNotSupported, UseAnotherServer, ServerMoved,
        SharedSubscriptionsNotSupported, ConnectionRateExceeded, MaximumConnectTime,
        SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported,
    }

    /// A reason code of an AUTH \[MQTT-3.15.2-1\].
    AuthReasonCode { Success, ContinueAuthentication, ReAuthenticate }
}

impl ConnAckReasonCode {
    /// Returns the Connect Return code of 3.1 and 3.1.1 for this code; `None` if there is none (3.1.1, section
    /// 3.2.2.3).
    ///
    /// ```
    /// # use mqtt_sansio::codec::ConnAckReasonCode;
    /// assert_eq!(ConnAckReasonCode::NotAuthorized.return_code(), Some(5));
    /// assert_eq!(ConnAckReasonCode::from_return_code(5), Some(ConnAckReasonCode::NotAuthorized));
    /// assert_eq!(ConnAckReasonCode::Banned.return_code(), None);
    /// ```
    pub const fn return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized => Some(5),
            _ => None,
        }
    }

    /// Returns the reason code for a Connect Return code of 3.1 and 3.1.1, 0 to 5.
    pub const fn from_return_code(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

/// The error of a reason code that the packet may not carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("the reason code {0} is not allowed in this packet")]
#[non_exhaustive]
pub struct WrongReasonCode(pub ReasonCode);

impl SubAckReasonCode {
    /// Returns the granted QoS; `None` for a refusal.
    ///
    /// ```
    /// # use mqtt_sansio::QoS;
    /// # use mqtt_sansio::codec::SubAckReasonCode;
    /// assert_eq!(SubAckReasonCode::GrantedQoS1.granted_qos(), Some(QoS::AtLeastOnce));
    /// assert_eq!(SubAckReasonCode::NotAuthorized.granted_qos(), None);
    /// ```
    pub const fn granted_qos(self) -> Option<QoS> {
        QoS::from_value(self.value())
    }

    /// Returns whether 3.1.1 has this return code: a grant, or 0x80 \[3.1.1: MQTT-3.9.3-2\].
    pub(crate) const fn is_return_code(value: u8) -> bool {
        matches!(value, 0x00..=0x02 | 0x80)
    }
}

impl From<QoS> for SubAckReasonCode {
    fn from(granted: QoS) -> Self {
        match granted {
            QoS::AtMostOnce => Self::GrantedQoS0,
            QoS::AtLeastOnce => Self::GrantedQoS1,
            QoS::ExactlyOnce => Self::GrantedQoS2,
        }
    }
}

macro_rules! default_is {
    ($( $type:ident::$variant:ident ),* $(,)?) => {
        $(
            impl Default for $type {
                fn default() -> Self {
                    Self::$variant
                }
            }
        )*
    };
}

default_is! {
    ConnAckReasonCode::Success,
    PubAckReasonCode::Success,
    PubRelReasonCode::Success,
    DisconnectReasonCode::NormalDisconnection,
    AuthReasonCode::Success,
}

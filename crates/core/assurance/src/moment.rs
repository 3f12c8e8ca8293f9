//! Times in files: RFC 3339, in UTC, with milliseconds.

use portreeve_types::UnixMillis;
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
use time::{Duration, OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// The last time that a file states: the end of 9999.
const LAST: u64 = 253_402_300_799_999;

/// `2026-01-31T12:00:00.000Z`; what lies after 9999 is its end.
pub(crate) fn text(at: UnixMillis) -> String {
    let ms = i64::try_from(at.0.min(LAST)).unwrap_or_default();
    let date = OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(ms);
    let (year, month, day) = date.to_calendar_date();
    let (hour, minute, second, milli) = date.to_hms_milli();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", u8::from(month))
}

/// The day alone.
pub(crate) fn day(at: UnixMillis) -> String {
    text(at).chars().take("9999-12-31".len()).collect()
}

/// Any form of RFC 3339 from 1970 on; what is finer than a millisecond is dropped.
pub(crate) fn parse(text: &str) -> Option<UnixMillis> {
    let date = OffsetDateTime::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC);
    u64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok().map(UnixMillis)
}

pub(crate) fn serialize<S: Serializer>(at: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*at))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMillis, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom("not a time such as 2026-01-31T12:00:00Z"))
}

/// Times that people write: a day (its beginning, UTC) or RFC 3339, as text or as TOML has them.
pub(crate) mod written {
    use portreeve_types::UnixMillis;
    use serde::{Deserialize, Deserializer, de::Error as _};

    pub(crate) use super::serialize;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Toml(toml::value::Datetime),
        Text(String),
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMillis, D::Error> {
        const FORM: &str = "a time is written 2026-12-31 or 2026-12-31T12:00:00Z";
        let text = match Written::deserialize(deserializer).map_err(|_| D::Error::custom(FORM))? {
            Written::Toml(time) => time.to_string(),
            Written::Text(text) => text,
        };
        let whole = if text.len() == "2026-12-31".len() { format!("{text}T00:00:00Z") } else { text };
        super::parse(&whole).ok_or_else(|| D::Error::custom(FORM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_out_and_come_back() {
        let at = UnixMillis(1_700_000_000_123);
        assert_eq!(text(at), "2023-11-14T22:13:20.123Z");
        assert_eq!(parse(&text(at)), Some(at));
        assert_eq!(parse("2023-11-14T23:13:20.123999+01:00"), Some(at));
        assert_eq!(day(UnixMillis(0)), "1970-01-01");
        assert_eq!(text(UnixMillis(u64::MAX)), "9999-12-31T23:59:59.999Z");
        assert_eq!([parse("1969-12-31T23:59:59Z"), parse("yesterday"), parse("")], [None; 3]);
    }
}

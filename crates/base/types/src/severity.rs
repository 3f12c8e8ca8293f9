use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::words::{UnknownWord, words};

words!(
    /// How urgent a finding, an alert or a case is: one scale for detectors, rules, routes and messages.
    Severity, "info, low, medium, high, critical" {
        /// Worth knowing.
        Info = "info",
        /// To be looked at some time.
        Low = "low",
        /// To be looked at today.
        Medium = "medium",
        /// To be looked at now.
        High = "high",
        /// Harm is being done.
        Critical = "critical",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_and_have_an_order() {
        assert!(Severity::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        for severity in Severity::ALL {
            assert_eq!(severity.as_str().parse().as_ref(), Ok(severity));
            assert_eq!(serde_json::to_string(severity).unwrap(), format!("\"{severity}\""));
        }
        assert!("warning".parse::<Severity>().is_err());
    }
}

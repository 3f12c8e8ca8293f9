//! rumqttd as its own program starts it, without log and console: `rumqttd-host CONFIG`.

use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("usage: rumqttd-host CONFIG")?;
    let config: rumqttd::Config = toml::from_str(&fs::read_to_string(path)?)?;
    rumqttd::Broker::new(config).start()?;
    Ok(())
}

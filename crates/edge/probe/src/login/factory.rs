/// Which edition of the lists this is.
pub const LIST: &str = "2026-11";

/// A credential with which devices have left the factory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Factory {
    /// User name; empty for communities.
    pub user: &'static str,
    /// Password or community.
    pub secret: &'static str,
}

const fn pair(user: &'static str, secret: &'static str) -> Factory {
    Factory { user, secret }
}

/// User names and passwords that are common knowledge: printed in manuals of routers, cameras, recorders, controllers and boards, and
/// in what is published of the worms that live on them. The most common come first. Evidence names entries by their place, so
/// changing any of it makes a new [`LIST`].
pub const FACTORY: &[Factory] = &[
    pair("admin", "admin"),
    pair("admin", ""),
    pair("admin", "password"),
    pair("admin", "1234"),
    pair("admin", "12345"),
    pair("admin", "123456"),
    pair("admin", "admin123"),
    pair("admin", "default"),
    pair("admin", "changeme"),
    pair("admin", "public"),
    pair("root", "root"),
    pair("root", ""),
    pair("root", "admin"),
    pair("root", "password"),
    pair("root", "12345"),
    pair("root", "123456"),
    pair("root", "pass"),
    pair("root", "default"),
    pair("root", "toor"),
    pair("root", "xc3511"),
    pair("root", "vizxv"),
    pair("root", "calvin"),
    pair("root", "alpine"),
    pair("root", "system"),
    pair("user", "user"),
    pair("user", "password"),
    pair("guest", "guest"),
    pair("support", "support"),
    pair("service", "service"),
    pair("operator", "operator"),
    pair("supervisor", "supervisor"),
    pair("test", "test"),
    pair("ubnt", "ubnt"),
    pair("pi", "raspberry"),
    pair("mqtt", "mqtt"),
    pair("cisco", "cisco"),
];

/// Communities that are common knowledge.
pub const COMMUNITIES: &[Factory] =
    &[pair("", "public"), pair("", "private"), pair("", "community"), pair("", "admin")];

use super::{Review, expect_software};
use crate::{
    Inputs, Judgement,
    checks::{of_one, ssh::is_weak},
    evidence::config::{Setting, Settings, Software},
};

const EXPECTED: &str = "keys or certificates only, no root, no empty passwords, named users, strong algorithms";

/// Keys whose lists of algorithms a weak name may not stand in.
const LISTS: [&str; 4] = ["kexalgorithms", "hostkeyalgorithms", "ciphers", "macs"];

/// `cfg.ssh`: how one logs in, and who (IIITA-N7, IIITA-J10, CSA-COM-07).
pub(super) fn ssh(inputs: &Inputs<'_>) -> Judgement {
    of_one(inputs, judge)
}

fn judge(settings: &Settings) -> Judgement {
    let mut review = Review::default();
    if !expect_software(&mut review, settings, Software::Sshd) {
        return review.judge(EXPECTED);
    }
    for setting in &settings.settings {
        review_setting(&mut review, &settings.file, setting);
    }
    for key in ["passwordauthentication", "kbdinteractiveauthentication", "permitrootlogin"] {
        if settings.said("", key).is_none() {
            review.gap(format!("{key} is not known"));
        }
    }
    let names = ["allowusers", "allowgroups"];
    if names.iter().all(|key| settings.said("", key).is_none()) {
        review.part("no AllowUsers or AllowGroups says who may log in");
    }
    review.unread(&settings.unread);
    review.fine(format!("{}: keys and certificates only, and no root", settings.file));
    review.judge(EXPECTED)
}

fn review_setting(review: &mut Review, file: &str, setting: &Setting) {
    let Setting { section, key, said } = setting;
    let value = said.value.to_ascii_lowercase();
    let within = if section.is_empty() { String::new() } else { format!(" for {section}") };
    let is_bad = match key.as_str() {
        "passwordauthentication" | "kbdinteractiveauthentication" | "challengeresponseauthentication" => value == "yes",
        "permitemptypasswords" | "hostbasedauthentication" | "permituserenvironment" | "x11forwarding" => value != "no",
        "permitrootlogin" => {
            !["no", "forced-commands-only", "prohibit-password", "without-password"].contains(&value.as_str())
        }
        "ignorerhosts" | "strictmodes" => value == "no",
        "pubkeyauthentication" => value == "no" && section.is_empty(),
        "maxauthtries" => value.parse::<u32>().is_ok_and(|tries| tries > 6),
        "logingracetime" => value == "0",
        "loglevel" => value == "quiet",
        "protocol" => value.contains('1'),
        _ => false,
    };
    review.offend_if(is_bad, file, said, format!("{key} {value}{within}"));
    // A key opens the same door, but for the one who may everything there should be no door.
    let is_root_by_key =
        key == "permitrootlogin" && ["prohibit-password", "without-password"].contains(&value.as_str());
    if is_root_by_key {
        review.part(format!("root may log in with a key{within} ({file}, {})", said.place()));
    }
    if LISTS.contains(&key.as_str()) {
        let weak: Vec<&str> = weak_names(&said.value).collect();
        review.offend_if(!weak.is_empty(), file, said, format!("{key} has {}{within}", weak.join(", ")));
    }
}

/// Names that a list adds or sets; a list that begins with `-` takes away.
fn weak_names(list: &str) -> impl Iterator<Item = &str> {
    let is_removal = list.starts_with('-');
    let names = list.trim_start_matches(['+', '^']).split(',').map(str::trim);
    names.filter(move |name| !is_removal && !name.is_empty() && is_weak(name))
}

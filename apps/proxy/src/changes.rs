//! What of a configuration can be loaded while it runs, and what is as it was when the program was started.

use toml::{Table, Value};

/// Keys of a `[[proxy]]` that can be loaded anew; all below one that has a table.
const LOADED: [&[&str]; 14] = [
    &["tls", "certificates"],
    &["tls", "unknown_name"],
    &["tls", "min_version"],
    &["tls", "cipher_suites"],
    &["limits", "head_bytes"],
    &["limits", "target_bytes"],
    &["limits", "fields"],
    &["limits", "body_bytes"],
    &["limits", "requests"],
    &["timeouts"],
    &["compress", "types"],
    &["compress", "min_bytes"],
    &["upstream"],
    &["route"],
];

/// The first key by which two configurations differ and that cannot be loaded while the first of them runs, such as
/// `proxy[0].listen`. Both are sound.
#[must_use]
pub fn first_fixed(before: &str, after: &str) -> Option<String> {
    let (Ok(before), Ok(after)) = (fixed(before), fixed(after)) else { return Some(String::new()) };
    difference(&Value::Table(before), &Value::Table(after))
}

/// What is fixed of a configuration.
fn fixed(text: &str) -> Result<Table, toml::de::Error> {
    let mut all: Table = text.parse()?;
    let proxies = all.get_mut("proxy").and_then(Value::as_array_mut);
    for proxy in proxies.into_iter().flatten() {
        for path in LOADED {
            remove(proxy, path);
        }
    }
    Ok(all)
}

/// Takes out what is at a path, and tables that are empty then: they mean the same as none.
fn remove(value: &mut Value, path: &[&str]) {
    let (Some(table), Some((first, rest))) = (value.as_table_mut(), path.split_first()) else { return };
    if rest.is_empty() {
        table.remove(*first);
    } else if let Some(below) = table.get_mut(*first) {
        remove(below, rest);
        if below.as_table().is_some_and(Table::is_empty) {
            table.remove(*first);
        }
    }
}

/// The path of the first difference.
fn difference(before: &Value, after: &Value) -> Option<String> {
    let join = |key: &str, below: String| match below.as_str() {
        "" => key.to_owned(),
        below if below.starts_with('[') => format!("{key}{below}"),
        below => format!("{key}.{below}"),
    };
    match (before, after) {
        (Value::Table(before), Value::Table(after)) => {
            let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
            keys.into_iter().find_map(|key| match (before.get(key), after.get(key)) {
                (Some(before), Some(after)) => difference(before, after).map(|below| join(key, below)),
                _ => Some(key.clone()),
            })
        }
        (Value::Array(before), Value::Array(after)) => {
            if before.len() != after.len() {
                return Some(String::new());
            }
            let pairs = before.iter().zip(after).enumerate();
            pairs.into_iter().find_map(|(i, (before, after))| {
                difference(before, after).map(|below| join(&format!("[{i}]"), below))
            })
        }
        (before, after) => (before != after).then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
        version = 1
        [eal]
        cores = "0"
        [[proxy]]
        name = "a"
        listen = ["127.0.0.1:1"]
        [proxy.tls]
        min_version = "1.2"
        [proxy.limits]
        connections = 5
        fields = 7
        [[proxy.upstream]]
        name = "u"
        servers = ["127.0.0.1:2"]
    "#;

    fn changed(pairs: &[(&str, &str)]) -> Option<String> {
        let mut after = BEFORE.to_owned();
        for (from, to) in pairs {
            assert!(after.contains(from));
            after = after.replacen(from, to, 1);
        }
        first_fixed(BEFORE, &after)
    }

    #[test]
    fn what_can_be_loaded_is_no_difference() {
        assert_eq!(changed(&[]), None);
        let pairs = [
            ("min_version = \"1.2\"", "cipher_suites = []\ncertificates = []"),
            ("fields = 7", ""),
            (
                "servers = [\"127.0.0.1:2\"]",
                "servers = [\"127.0.0.1:3\"]\nkeepalive = 1\n[[proxy.route]]\nupstream = \"u\"",
            ),
            ("[proxy.tls]", "[proxy.timeouts]\nhead_ms = 1\n[proxy.tls]"),
        ];
        assert_eq!(changed(&pairs), None);
    }

    #[test]
    fn what_cannot_is_named() {
        for (from, to, place) in [
            ("cores = \"0\"", "cores = \"1\"", "eal.cores"),
            ("127.0.0.1:1", "127.0.0.1:9", "proxy[0].listen[0]"),
            ("[\"127.0.0.1:1\"]", "[\"127.0.0.1:1\", \"[::1]:1\"]", "proxy[0].listen"),
            ("connections = 5", "connections = 6", "proxy[0].limits.connections"),
            ("connections = 5", "", "proxy[0].limits"),
            ("name = \"a\"", "name = \"b\"", "proxy[0].name"),
            ("[[proxy]]", "[device.r]\ndriver = \"soft-rsa\"\n[[proxy]]", "device"),
            ("min_version = \"1.2\"", "tickets = false", "proxy[0].tls"),
        ] {
            assert_eq!(changed(&[(from, to)]).as_deref(), Some(place), "{from} -> {to}");
        }
    }
}

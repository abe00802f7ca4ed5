//! The documentation of the configurations: each field says its default, and the table of limits in the guide names fields that
//! exist.

/// The files with the structs that a program fills in, and the names of these structs.
const CONFIGURATIONS: [(&str, &[&str]); 7] = [
    (include_str!("../src/client/config.rs"), &["ClientConfig", "Authentication"]),
    (include_str!("../src/server/config.rs"), &["ServerConfig"]),
    (include_str!("../src/server/accept.rs"), &["Accept"]),
    (include_str!("../src/broker/config.rs"), &["BrokerConfig"]),
    (include_str!("../src/session/will.rs"), &["Will"]),
    (include_str!("../src/codec/limits.rs"), &["Limits"]),
    (include_str!("../crates/tokio/src/options.rs"), &["Options"]),
];

/// Returns the public fields of a struct, each with its documentation.
fn fields<'s>(source: &'s str, name: &str) -> Vec<(&'s str, String)> {
    let begin = format!("pub struct {name} {{\n");
    let (_, body) = source.split_once(&begin).unwrap_or_else(|| panic!("there is no {name}"));
    let (body, _) = body.split_once("\n}").unwrap();
    let mut fields = Vec::new();
    let mut documentation = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            documentation += text;
        } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) {
            fields.push((field, std::mem::take(&mut documentation)));
        }
    }
    fields
}

#[test]
fn each_field_of_a_configuration_says_its_default() {
    let mut count = 0;
    for (source, names) in CONFIGURATIONS {
        for name in names {
            for (field, documentation) in fields(source, name) {
                count += 1;
                assert!(documentation.contains("Default"), "{name}::{field} does not say its default");
            }
        }
    }
    assert!(count > 100, "the fields are found: {count}");
}

#[test]
fn the_limits_in_the_guide_are_fields() {
    let fields: Vec<&str> = CONFIGURATIONS[..2]
        .iter()
        .flat_map(|(source, names)| fields(source, names[0]).into_iter().map(|(field, _)| field))
        .collect();
    let guide = include_str!("../src/guide/limits.md");
    let rows: Vec<&str> = guide.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 10, "the table is found");
    for row in rows {
        let named = row.split('|').nth(1).unwrap();
        for field in named.split('`').skip(1).step_by(2) {
            assert!(fields.contains(&field), "there is no field {field}");
        }
    }
}

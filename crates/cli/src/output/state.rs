use super::Table;
use serde_json::Value;
use steadfast_api::DeviceState;

/// A driver's state, a table for each schema.
pub(crate) fn show(state: &DeviceState) -> String {
    if state.states.is_empty() {
        return format!("{}: its driver keeps no state\n", state.device);
    }
    let mut text = String::new();
    for state in &state.states {
        text.push_str(&format!("{} ({} bytes)\n", state.schema, state.bytes));
        if let Some(raw) = &state.raw {
            text.push_str(&format!("  {raw}\n"));
        }
        let Some(Value::Object(fields)) = &state.value else { continue };
        let mut table = Table::new(&["FIELD", "VALUE"]);
        for (name, value) in fields {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            table.row([name.clone(), value]);
        }
        table.to_string().lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_api::SchemaState;

    #[test]
    fn typed_state_is_a_table_and_the_rest_is_shown_as_it_is() {
        let typed = SchemaState {
            schema: "file/1".into(),
            bytes: 20,
            value: Some(serde_json::json!({"size": 65536, "name": "a b"})),
            raw: None,
        };
        let opaque = SchemaState { schema: "c/1".into(), bytes: 2, value: None, raw: Some("00ff".into()) };
        let text = show(&DeviceState { device: "vol0".into(), states: vec![typed, opaque] });
        assert!(text.starts_with("file/1 (20 bytes)\n  FIELD"), "{text}");
        assert!(text.contains("65536") && text.contains("a b") && !text.contains('"'), "{text}");
        assert!(text.ends_with("c/1 (2 bytes)\n  00ff\n"), "{text}");
        let none = show(&DeviceState { device: "vol0".into(), states: vec![] });
        assert_eq!(none, "vol0: its driver keeps no state\n");
    }
}

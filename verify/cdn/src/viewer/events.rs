//! Events as they arrive (HTML Living Standard, 9.2): data and control (section 5.8 of the protocol).

use anyhow::{Context, Result};
use serde_json::Value;

/// An event that a viewer looks at.
pub(crate) enum Event {
    Data(Vec<u8>),
    Control(Control),
}

/// Where the reader stands.
pub(crate) struct Control {
    pub(crate) next: Option<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) up_to_date: bool,
    pub(crate) closed: bool,
}

/// The events of a connection.
#[derive(Default)]
pub(crate) struct Events {
    /// What follows the last complete event.
    rest: Vec<u8>,
}

impl Events {
    /// The events that these bytes complete.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<Vec<Event>> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.rest.drain(..end + 2).collect();
            events.extend(parse(&event)?);
        }
        Ok(events)
    }
}

/// One event; `None` for a comment.
fn parse(event: &[u8]) -> Result<Option<Event>> {
    let mut kind: &[u8] = b"";
    let mut data: Vec<&[u8]> = Vec::new();
    for line in event.split(|&byte| byte == b'\n') {
        if let Some(value) = line.strip_prefix(b"event:") {
            kind = value.trim_ascii();
        } else if let Some(value) = line.strip_prefix(b"data:") {
            data.push(value);
        }
    }
    let data = data.join(&b'\n');
    Ok(match kind {
        b"data" => Some(Event::Data(data)),
        b"control" => {
            let control: Value = serde_json::from_slice(&data).context("a control event is no JSON")?;
            let text = |name: &str| control.get(name).and_then(Value::as_str).map(str::to_owned);
            let flag = |name: &str| control.get(name).and_then(Value::as_bool).unwrap_or_default();
            Some(Event::Control(Control {
                next: text("streamNextOffset"),
                cursor: text("streamCursor"),
                up_to_date: flag("upToDate"),
                closed: flag("streamClosed"),
            }))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let text = ": hi\n\nevent: data\ndata:one\ndata:\n\nevent: control\n\
                    data:{\"streamNextOffset\":\"7_4\",\"upToDate\":true}\n\n";
        let mut events = Events::default();
        let mut all = Vec::new();
        for byte in text.as_bytes() {
            all.extend(events.receive(&[*byte]).unwrap());
        }
        let [Event::Data(data), Event::Control(control)] = &*all else { panic!("{} events", all.len()) };
        assert_eq!(data, b"one\n");
        assert_eq!((control.next.as_deref(), control.up_to_date, control.closed), (Some("7_4"), true, false));
    }
}

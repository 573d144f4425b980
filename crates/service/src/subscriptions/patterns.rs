//! An index of patterns: finds those that match a name without trying each. It is a tree of segments.

use std::collections::{HashMap, HashSet};

use headwater_protocol::{
    path::StreamName,
    subscription::{Pattern, Serial, pattern::Segment},
};

/// All patterns, by their segments.
#[derive(Debug, Default)]
pub(crate) struct PatternIndex(Node);

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Self>,
    one: Option<Box<Self>>,
    /// The node after a `**`. A name may stay there for any number of segments.
    any: Option<Box<Self>>,
    /// The subscriptions whose patterns end here.
    ends: Vec<Serial>,
}

impl PatternIndex {
    pub(crate) fn insert(&mut self, pattern: &Pattern, serial: Serial) {
        let end = pattern.segments().iter().fold(&mut self.0, |node, segment| match segment {
            Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
            Segment::One => node.one.get_or_insert_default(),
            Segment::Any => node.any.get_or_insert_default(),
        });
        end.ends.push(serial);
    }

    pub(crate) fn remove(&mut self, pattern: &Pattern, serial: Serial) {
        self.0.remove(pattern.segments(), serial);
    }

    /// Returns the subscriptions whose patterns match a name.
    pub(crate) fn matching(&self, name: &StreamName) -> Vec<Serial> {
        let mut here = Places::default();
        here.enter(&self.0, false);
        for segment in name.as_str().split('/') {
            let mut next = Places::default();
            for &(node, stays) in &here.places {
                if stays {
                    next.enter(node, true);
                }
                if let Some(literal) = node.literals.get(segment) {
                    next.enter(literal, false);
                }
                if let Some(one) = &node.one {
                    next.enter(one, false);
                }
            }
            here = next;
        }
        here.places.iter().flat_map(|(node, _)| node.ends.iter().copied()).collect()
    }
}

impl Node {
    fn remove(&mut self, segments: &[Segment], serial: Serial) {
        let Some((first, rest)) = segments.split_first() else {
            self.ends.retain(|known| *known != serial);
            return;
        };
        match first {
            Segment::Literal(text) => {
                if let Some(node) = self.literals.get_mut(text) {
                    node.remove(rest, serial);
                    if node.is_empty() {
                        self.literals.remove(text);
                    }
                }
            }
            Segment::One => remove_below(&mut self.one, rest, serial),
            Segment::Any => remove_below(&mut self.any, rest, serial),
        }
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.one.is_none() && self.any.is_none() && self.ends.is_empty()
    }
}

fn remove_below(node: &mut Option<Box<Node>>, rest: &[Segment], serial: Serial) {
    if let Some(below) = node {
        below.remove(rest, serial);
        if below.is_empty() {
            *node = None;
        }
    }
}

/// The nodes at which a name may be after some of its segments, each once.
#[derive(Default)]
struct Places<'a> {
    places: Vec<(&'a Node, bool)>,
    known: HashSet<*const Node>,
}

impl<'a> Places<'a> {
    /// Adds a node. `stays`: it follows a `**`.
    fn enter(&mut self, node: &'a Node, stays: bool) {
        if self.known.insert(node) {
            self.places.push((node, stays));
            // `**` matches no segment, too.
            if let Some(any) = &node.any {
                self.enter(any, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_text(segments: &[&str], length: usize) -> Vec<String> {
        let shorter = if length == 1 { vec![String::new()] } else { every_text(segments, length - 1) };
        let longer = shorter.iter().flat_map(|text| {
            let join = move |segment: &&str| {
                if text.is_empty() { (*segment).to_owned() } else { format!("{text}/{segment}") }
            };
            segments.iter().map(join)
        });
        let longer: Vec<String> = longer.collect();
        shorter.into_iter().filter(|text| !text.is_empty()).chain(longer).collect()
    }

    #[test]
    fn the_tree_finds_what_each_pattern_matches() {
        let patterns: Vec<Pattern> =
            every_text(&["a", "*", "**"], 4).iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let names = every_text(&["a", "b"], 5);
        let mut index = PatternIndex::default();
        for (pattern, serial) in patterns.iter().zip(0..) {
            index.insert(pattern, Serial::new(serial));
        }
        let check = |index: &PatternIndex, is_there: &dyn Fn(u64) -> bool| {
            for name in &names {
                let name = StreamName::new(name).unwrap();
                let mut found: Vec<u64> = index.matching(&name).iter().map(|serial| serial.get()).collect();
                found.sort_unstable();
                let expected = patterns
                    .iter()
                    .zip(0..)
                    .filter(|(pattern, serial)| is_there(*serial) && pattern.matches(&name));
                assert_eq!(found, expected.map(|(_, serial)| serial).collect::<Vec<_>>(), "{name}");
            }
        };
        check(&index, &|_| true);
        for (pattern, serial) in patterns.iter().zip(0..).filter(|(_, serial)| serial % 2 == 0) {
            index.remove(pattern, Serial::new(serial));
        }
        check(&index, &|serial| serial % 2 == 1);
        for (pattern, serial) in patterns.iter().zip(0..) {
            index.remove(pattern, Serial::new(serial));
        }
        assert!(index.0.is_empty(), "nothing is left");
    }
}

//! Texts and their definitions: each is what a writer would have written, where it would have.

use crate::fold::DeviceState;
use crate::fold::replay::Step;
use crate::log::body::{Body, Flags, IdNo, KeyNo, LinkSource, NameNo, StoredClass};
use crate::log::record::Row;
use crate::maintenance::audit::{Audit, Definition};
use crate::model::policy::FirstMention;

impl Audit {
    /// Reads a definition; `None` for any other record.
    pub(super) fn definition(&mut self, step: Step<'_>) -> Option<Definition> {
        if !step.record.row.kind.defines() {
            return None;
        }
        let text = step.record.item().and_then(|item| std::str::from_utf8(item).ok());
        let last = |count: usize| u32::try_from(count - 1).expect("MAX_RECORDS bounds every number");
        Some(match step.record.body() {
            Body::DefineId(class, _) => {
                let mentions = [FirstMention::Plain, FirstMention::Device];
                let policy = step.state.policy();
                let class_of =
                    |text, mention| StoredClass::under(policy, policy.classify(text, mention), text);
                let classes = text.map(|text| mentions.map(|mention| (mention, class_of(text, mention))));
                let id = IdNo(last(step.state.ids().len()));
                self.unmentioned.id(id);
                Definition::Id(id, class, classes)
            }
            Body::DefineDevice(id, _) => {
                self.device_definitions.push(step.record.row.seq);
                self.devices.push(DeviceState::anonymous(id));
                self.unmentioned.device(id);
                Definition::Device
            }
            Body::DefineKey(_) => Definition::Key(KeyNo(last(self.dictionaries.keys.len() as usize))),
            Body::DefineName(_) => {
                self.kinds.push(text.map(Flags::of_event));
                Definition::Name(NameNo(last(self.kinds.len())))
            }
            _ => return None,
        })
    }

    /// B4: each definition must be needed by the operation after it, or make a device; and an id's class must be what its
    /// text and first mention give. Other records, and the end, need no definition.
    pub(super) fn settle(&mut self, next: Option<(&Row, &Body)>) {
        let pending = std::mem::take(&mut self.pending);
        let unmentioned = std::mem::take(&mut self.unmentioned);
        let (row, body) = next.unzip();
        let target = body.and_then(Body::head).map(|head| head.id);
        let other = body.map_or(LinkSource::None, Body::other);
        for (seq, definition) in &pending {
            let needed = match definition {
                Definition::Id(id, ..) => {
                    target == Some(*id) || other == LinkSource::Id(*id) || unmentioned.begins_device(*id, row)
                }
                Definition::Device => true,
                Definition::Key(key) => {
                    body.is_some_and(|body| body.changes().iter().any(|change| change.key == *key))
                }
                Definition::Name(name) => body.and_then(Body::event_name) == Some(*name),
            };
            if !needed {
                self.wrong(*seq, "it defines something that the next operation does not name");
            }
            if let Definition::Id(id, class, Some(classes)) = definition {
                let mention = unmentioned.first_mention(*id, row);
                if classes.iter().any(|(of, expected)| *of == mention && expected != class) {
                    self.wrong(
                        *seq,
                        "the class or kind of its id is not what text and first mention give (B4, D12)",
                    );
                }
            }
        }
    }
}

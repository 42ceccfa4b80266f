//! A reclassification (H5): an id counts as one of another class, from its definition on.

use std::collections::BTreeMap;

use crate::fold::State;
use crate::fold::fold_cache::CachedFold;
use crate::fold::generations::Reclassified;
use crate::fold::links::NONE;
use crate::fold::outcome::Refusal;
use crate::log::body::{IdNo, StoredClass};
use crate::log::record::Row;
use crate::model::class::IdClass;
use crate::model::id::Seq;

/// The classes of ids while the records of a component pass by.
pub(super) struct Classes(BTreeMap<IdNo, (StoredClass, u32)>);

impl Classes {
    pub(super) fn new() -> Classes {
        Classes(BTreeMap::new())
    }

    /// Takes a reclassification that counts, and gives `class`; `defined` gives the class of an id by its definition. Gives the record by which the id has
    /// this class already, or NONE for its definition.
    pub(super) fn give(
        &mut self,
        row: &Row,
        class: StoredClass,
        defined: impl FnOnce(IdNo) -> StoredClass,
    ) -> Option<u32> {
        let known = self.0.entry(row.id).or_insert_with(|| (defined(row.id), NONE));
        if known.0 == class {
            return Some(known.1);
        }
        *known = (class, row.seq);
        None
    }

    /// Takes one that does not count.
    fn pass(&mut self, row: &Row, defined: impl FnOnce(IdNo) -> StoredClass) {
        self.0.entry(row.id).or_insert_with(|| (defined(row.id), NONE));
    }
}

impl State {
    /// H5: whether a reclassification would do nothing here.
    pub(super) fn refuse_reclassify(&self, row: &Row) -> Option<Refusal> {
        let same = self.given_class(row) == Some(self.stored_class(row.id));
        same.then(|| Refusal::AlreadyOfClass { by: self.classed_by(row.id) })
    }

    /// Gives the ids of a component the classes that they have as things stand. What the component comes to by them is for a fold of it
    /// to say, which must begin at the first record.
    pub(super) fn settle_classes(&mut self, fold: &CachedFold<State>) {
        let classes =
            fold.classes(|row| self.given_class(row), |small| self.class_defined(fold.ids[small.index()]));
        for (small, (class, by)) in classes.0 {
            self.classify(fold.ids[small.index()], class, by);
        }
    }

    fn classify(&mut self, id: IdNo, class: StoredClass, by: u32) {
        let defined = self.class_defined(id);
        self.generations.reclassified.insert(id, Reclassified { defined, by });
        self.set_class(id, class);
    }

    fn set_class(&mut self, id: IdNo, class: StoredClass) {
        if self.class(id) != class.into() {
            self.links.leaf_mut(id).set_class(class);
        }
        self.kinds.set(id, class.kind());
        self.shared.set(id, IdClass::from(class) == IdClass::Shared);
    }

    /// Defines an id as it is in `whole`.
    pub(super) fn define_as(&mut self, whole: &State, id: IdNo) {
        let number = IdNo(self.links.ids().len() as u32); // MAX_RECORDS bounds it
        self.define_id(whole.links.defined(id), whole.stored_class(id));
        let reclassified = whole.generations.reclassified.get(&id);
        self.generations.reclassified.extend(reclassified.map(|reclassified| (number, *reclassified)));
    }

    /// Gives all ids the classes of their definitions: none was reclassified yet.
    pub(super) fn unclassify(&mut self) {
        for (id, Reclassified { defined, .. }) in std::mem::take(&mut self.generations.reclassified) {
            self.set_class(id, defined);
        }
    }
}

impl CachedFold<State> {
    /// The classes of the ids that were ever reclassified, as things stand.
    fn classes(
        &self,
        given: impl Fn(&Row) -> Option<StoredClass>,
        defined: impl Fn(IdNo) -> StoredClass,
    ) -> Classes {
        let mut classes = Classes::new();
        for (place, record) in self.told.records().enumerate() {
            if let Some(class) = given(record.row) {
                if self.is_retracted(place) {
                    classes.pass(record.row, &defined);
                } else {
                    classes.give(record.row, class, &defined);
                }
            }
        }
        classes
    }

    /// Gives the ids the classes that they have after the component's own records, of which none is folded yet: the state that it was
    /// made beside may be of a later record.
    pub(super) fn begin_with_classes(&mut self) {
        self.end.state.unclassify();
        let state = &self.end.state;
        let classes = self.classes(|row| state.given_class(row), |id| state.stored_class(id));
        for (id, (class, by)) in classes.0 {
            self.end.state.classify(id, class, by);
        }
    }

    /// As things stand, and of the component's own numbers: why the reclassification of this row does nothing, if so.
    pub(super) fn refused_class(&self, classes: &mut Classes, row: &Row) -> Option<Refusal> {
        let state = &self.end.state;
        let class = state.given_class(row)?;
        let by = classes.give(row, class, |id| state.class_defined(id))?;
        let by = if by == NONE { state.links.defined(row.id) } else { by };
        Some(Refusal::AlreadyOfClass { by: Seq(by.into()) })
    }
}

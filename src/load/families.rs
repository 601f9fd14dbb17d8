use serde::Serialize;

/// What a latency is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// From the intended to the actual send.
    Schedule,
    /// From the intended send to the broker's confirmation.
    Ack,
    /// From the intended send to the end of the handler.
    E2e,
    /// From when the engine had taken the record over from librdkafka to the end of the handler.
    Residence,
    /// From the handler's call to its end.
    Handler,
    /// From the handler's end to when its member knew the offset to be committed.
    Commit,
}

/// Something for each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ByFamily<T> {
    pub(crate) schedule_delay: T,
    pub(crate) produce_ack: T,
    pub(crate) end_to_end: T,
    pub(crate) residence: T,
    pub(crate) handler: T,
    pub(crate) commit_lag: T,
}

/// The same of those alone that count from the intended send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct FromIntended<T> {
    pub(crate) schedule_delay: T,
    pub(crate) produce_ack: T,
    pub(crate) end_to_end: T,
}

impl<T> FromIntended<T> {
    pub(crate) fn each(&self) -> impl Iterator<Item = (Family, &T)> {
        let Self { schedule_delay, produce_ack, end_to_end } = self;
        [(Family::Schedule, schedule_delay), (Family::Ack, produce_ack), (Family::E2e, end_to_end)].into_iter()
    }

    pub(crate) fn each_mut(&mut self) -> impl Iterator<Item = &mut T> {
        [&mut self.schedule_delay, &mut self.produce_ack, &mut self.end_to_end].into_iter()
    }

    /// # Errors
    /// The first that `of` has.
    pub(crate) fn try_map<U, E>(&self, of: impl Fn(&T) -> Result<U, E>) -> Result<FromIntended<U>, E> {
        Ok(FromIntended {
            schedule_delay: of(&self.schedule_delay)?,
            produce_ack: of(&self.produce_ack)?,
            end_to_end: of(&self.end_to_end)?,
        })
    }
}

impl Family {
    pub(crate) const ALL: [Self; 6] =
        [Self::Schedule, Self::Ack, Self::E2e, Self::Residence, Self::Handler, Self::Commit];

    /// As files and fields are named.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule_delay",
            Self::Ack => "produce_ack",
            Self::E2e => "end_to_end",
            Self::Residence => "residence",
            Self::Handler => "handler",
            Self::Commit => "commit_lag",
        }
    }

    /// As gates call it.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Ack => "ack",
            Self::E2e => "e2e",
            Self::Residence => "residence",
            Self::Handler => "handler",
            Self::Commit => "commit",
        }
    }

    /// As people read it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Schedule => "schedule delay",
            Self::Ack => "produce ack",
            Self::E2e => "end to end",
            Self::Residence => "residence in the engine",
            Self::Handler => "handler",
            Self::Commit => "commit lag",
        }
    }
}

impl<T> ByFamily<T> {
    /// # Errors
    /// The first that `make` has.
    pub(crate) fn try_new<E>(mut make: impl FnMut(Family) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            schedule_delay: make(Family::Schedule)?,
            produce_ack: make(Family::Ack)?,
            end_to_end: make(Family::E2e)?,
            residence: make(Family::Residence)?,
            handler: make(Family::Handler)?,
            commit_lag: make(Family::Commit)?,
        })
    }

    pub(crate) fn of(&self, family: Family) -> &T {
        match family {
            Family::Schedule => &self.schedule_delay,
            Family::Ack => &self.produce_ack,
            Family::E2e => &self.end_to_end,
            Family::Residence => &self.residence,
            Family::Handler => &self.handler,
            Family::Commit => &self.commit_lag,
        }
    }

    pub(crate) fn of_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::Schedule => &mut self.schedule_delay,
            Family::Ack => &mut self.produce_ack,
            Family::E2e => &mut self.end_to_end,
            Family::Residence => &mut self.residence,
            Family::Handler => &mut self.handler,
            Family::Commit => &mut self.commit_lag,
        }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (Family, &T)> {
        Family::ALL.into_iter().map(|family| (family, self.of(family)))
    }

    pub(crate) fn map<U>(&self, of: impl Fn(&T) -> U) -> ByFamily<U> {
        ByFamily {
            schedule_delay: of(&self.schedule_delay),
            produce_ack: of(&self.produce_ack),
            end_to_end: of(&self.end_to_end),
            residence: of(&self.residence),
            handler: of(&self.handler),
            commit_lag: of(&self.commit_lag),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_fields_are_named_as_they_are() {
        let mut names = ByFamily::try_new(|family| Ok::<_, ()>(family.name())).unwrap();
        let json = serde_json::to_value(names).unwrap();
        for (field, value) in json.as_object().unwrap() {
            assert_eq!(value, field);
        }
        assert!(names.each().all(|(family, name)| family.name() == *name));
        for family in Family::ALL {
            assert_eq!(*names.of_mut(family), family.name());
        }
        assert_eq!(names.map(|name| name.len()).commit_lag, "commit_lag".len());
    }
}

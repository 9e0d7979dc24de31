//! What the server says.

use super::*;

impl Members {
    pub(super) fn incoming(&mut self, bytes: &Bytes) -> Result<(), Lost> {
        match decode_packet(bytes) {
            Some(Packet::Message { channel, offset, kind, .. }) => {
                self.message(channel, offset, kind, &bytes.slice(MESSAGE_HEADER..));
                return Ok(());
            }
            Some(Packet::Reply(reply)) => return self.reply(&reply),
            Some(Packet::Gone { channel }) => {
                self.gone(channel);
                return Ok(());
            }
            None => {}
        }
        match decode_notice(bytes) {
            Some(Notice::Entered { channel, position, name }) => {
                self.entered(channel, position, name);
            }
            Some(Notice::Presence(presence)) => self.presence(&presence),
            Some(Notice::Beyond(name)) => {
                let text = format!(
                    "channel '{}' is not received: there are as many subscriptions as may be",
                    name.escape_debug()
                );
                let error = Error::new(ErrorKind::Refused, text);
                self.shared.failed(&error);
                for topic in self.topics.iter().map(|(_, topic)| topic) {
                    if topic.pattern.as_ref().is_some_and(|pattern| pattern.matches(name)) {
                        topic.tell_error(&self.shared, &error);
                    }
                }
            }
            Some(Notice::Welcome(_)) => {}
            None => {
                return Err(violation(format!("{} bytes that are no packet", bytes.len())));
            }
        }
        Ok(())
    }

    fn message(&mut self, number: u64, offset: u64, kind: MessageKind, data: &Bytes) {
        // A number that is not known belongs to a channel that was left a moment ago.
        let Some(known) = self.channels.get_mut(&number) else { return };
        if offset <= known.position.offset {
            return;
        }
        known.position.offset = offset;
        self.shared.tally.received.fetch_add(1, Ordering::Relaxed);
        let event = Event {
            kind: EventKind::Message,
            channel: known.name.clone(),
            data: data.clone(),
            message_kind: kind,
            position: known.position,
            recovered: None,
            attendee: None,
        };
        for &key in &known.topics {
            let Some(topic) = self.topics.get_mut(key) else { continue };
            if let Some(position) = &mut topic.position {
                *position = event.position;
            }
            topic.offer(&event, &mut self.stalled);
        }
    }

    /// A pattern brings a channel, or would if nothing else did.
    fn entered(&mut self, number: u64, position: Position, name: &str) {
        let matching: Vec<_> = self
            .topics
            .iter()
            .filter(|(_, topic)| topic.live || topic.asked)
            .filter(|(_, topic)| topic.pattern.as_ref().is_some_and(|one| one.matches(name)))
            .map(|(key, _)| key)
            .collect();
        if matching.is_empty() {
            return;
        }
        let known = self.channels.entry(number);
        let known =
            known.or_insert_with(|| Known { name: name.into(), position, topics: Vec::new() });
        for key in matching {
            if !known.topics.contains(&key) {
                known.topics.push(key);
            }
        }
    }

    fn presence(&mut self, presence: &Presence<'_>) {
        let Some(known) = self.channels.get(&presence.channel) else { return };
        let position = Position { offset: presence.offset, ..known.position };
        for &key in &known.topics {
            let Some(topic) = self.topics.get_mut(key) else { continue };
            if topic.pattern.is_none()
                && let Some(change) = topic.roster.apply(presence)
            {
                topic.offer(&change.event(&topic.text, position), &mut self.stalled);
            }
        }
    }

    fn reply(&mut self, reply: &Reply<'_>) -> Result<(), Lost> {
        match self.open.remove(&reply.id) {
            Some(Open::Subscribe(key)) => self.subscribed(key, reply),
            Some(Open::Attendance(key)) if reply.status == 0 => self.page(key, reply),
            Some(Open::Attendance(key)) => {
                // It may be busy; the next connection is asked from the beginning.
                let error = refusal(reply).context("it is not known who is there");
                self.shared.failed(&error);
                if let Some(topic) = self.topics.get(key) {
                    topic.tell_error(&self.shared, &error);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn subscribed(&mut self, key: usize, reply: &Reply<'_>) -> Result<(), Lost> {
        let Some(topic) = self.topics.get_mut(key) else { return Ok(()) };
        topic.asked = false;
        if reply.status != 0 {
            self.refused(key, &refusal(reply));
            return Ok(());
        }
        topic.live = true;
        let again = topic.position.is_some() || topic.pattern.is_some();
        let recovered = again.then_some(reply.recovered);
        if topic.pattern.is_none() {
            topic.position = Some(reply.position);
            let name = topic.text.clone();
            let known = Known { name, position: reply.position, topics: Vec::new() };
            let known = self.channels.entry(reply.channel).or_insert(known);
            if !known.topics.contains(&key) {
                known.topics.push(key);
            }
            // A pattern that is live already brings what this brings, and is told so by nobody.
            let name = topic.text.clone();
            let position = reply.position;
            self.entered(reply.channel, position, &name);
        }
        let Some(topic) = self.topics.get_mut(key) else { return Ok(()) };
        let at = if topic.pattern.is_some() { Position::default() } else { reply.position };
        for inbox in &topic.inboxes {
            inbox.offer(inbox.connected(at, recovered));
        }
        for join in std::mem::take(&mut topic.joining) {
            topic.admit(join, &mut self.stalled);
        }
        if topic.pattern.is_none() {
            topic.roster.begin();
            self.page(key, reply)?;
        }
        if self.topics.get(key).is_some_and(|topic| topic.inboxes.is_empty()) {
            self.leave_topic(key);
        }
        Ok(())
    }

    pub(super) fn refused(&mut self, key: usize, error: &Error) {
        let Some(topic) = self.topics.get_mut(key) else { return };
        for join in std::mem::take(&mut topic.joining) {
            join.promise.give(Err(error.clone()));
        }
        if topic.inboxes.is_empty() {
            self.topics.remove(key);
            return;
        }
        // Live once, refused after a reconnection: it may be possible again.
        topic.tell_error(&self.shared, error);
        topic.retry_at = Some(Instant::now() + self.shared.options.reconnect_max);
        self.arm_retry();
    }

    /// A part of who is there.
    fn page(&mut self, key: usize, reply: &Reply<'_>) -> Result<(), Lost> {
        let page = reply.there.and_then(Page::read);
        let page = page.ok_or_else(|| violation("no list of who is there".into()))?;
        let Some(topic) = self.topics.get_mut(key) else { return Ok(()) };
        let changes = topic.roster.merge(&page);
        for change in changes {
            topic.offer(&change.event(&topic.text, reply.position), &mut self.stalled);
        }
        if let Some(after) = page.next() {
            let id = self.shared.new_id();
            self.open.insert(id, Open::Attendance(key));
            let call =
                Call::Attendance { id, channel: &topic.text, limit: PAGE, after: Some(after) };
            self.control.push_back(packet(&call));
        }
        Ok(())
    }

    pub(super) fn gone(&mut self, number: u64) {
        let Some(known) = self.channels.remove(&number) else { return };
        for key in known.topics {
            if self.topics.get(key).is_some_and(|topic| topic.pattern.is_none()) {
                let topic = self.topics.remove(key);
                for inbox in topic.inboxes {
                    self.let_go(&inbox, true);
                    inbox.end("channel deleted");
                }
            }
        }
    }
}

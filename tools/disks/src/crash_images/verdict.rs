//! What must be found after a power failure: every write acknowledged before it, once, in its place.
//!
//! Writes that were not acknowledged by then may be there or not, but only whole, once, under the key
//! they were sent to, and in the order their client made them.

use std::collections::BTreeMap;

use super::load::{Acknowledged, Ledger, RECORD, is_appender, key_of, value_of, version_of};

/// What all clients know, by key.
#[derive(Debug)]
pub(crate) struct Expected {
    /// By key, then in any order: the client, and what was acknowledged to it.
    acknowledged: BTreeMap<String, Vec<(usize, Acknowledged)>>,
    /// By client: writes submitted.
    submitted: Vec<u64>,
}

impl Expected {
    pub(crate) fn new(ledgers: &[Ledger]) -> Self {
        let mut acknowledged: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (client, ledger) in ledgers.iter().enumerate() {
            for (key, writes) in &ledger.acknowledged {
                let all = acknowledged.entry(key.clone()).or_default();
                all.extend(writes.iter().map(|write| (client, *write)));
            }
        }
        let submitted = ledgers.iter().map(|ledger| ledger.submitted).collect();
        Self { acknowledged, submitted }
    }

    /// Writes acknowledged in all.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.values().map(Vec::len).sum()
    }

    /// Every key with what was acknowledged while the write log was no longer than `mark`.
    pub(crate) fn until(
        &self,
        mark: u64,
    ) -> impl Iterator<Item = (&str, Vec<(usize, Acknowledged)>)> {
        self.acknowledged.iter().filter_map(move |(key, writes)| {
            let before = writes.iter().filter(|(_, write)| write.mark <= mark);
            let before: Vec<_> = before.copied().collect();
            (!before.is_empty()).then_some((key.as_str(), before))
        })
    }

    /// What is wrong with a value, if anything is.
    ///
    /// # Errors
    /// A text that names the write.
    pub(crate) fn check(
        &self,
        key: &str,
        value: Option<&[u8]>,
        acknowledged: &[(usize, Acknowledged)],
    ) -> Result<(), String> {
        let value = value.ok_or_else(|| format!("{key}: gone, with all that was acknowledged"))?;
        let (client, _) = acknowledged[0];
        if is_appender(client) {
            self.check_records(key, value, acknowledged)
        } else {
            self.check_version(key, value, client, acknowledged)
        }
    }

    fn check_version(
        &self,
        key: &str,
        value: &[u8],
        client: usize,
        acknowledged: &[(usize, Acknowledged)],
    ) -> Result<(), String> {
        let newest = acknowledged.iter().map(|(_, write)| write.number).max().expect("not empty");
        let found = version_of(value).filter(|found| *found < self.submitted[client]);
        let found = found.ok_or_else(|| format!("{key}: not a value that was ever put"))?;
        if key_of(client, found) != key || value != value_of(client, found) {
            return Err(format!("{key}: version {found} is not what was put"));
        }
        if found < newest {
            return Err(format!("{key}: version {found}, but {newest} was acknowledged"));
        }
        Ok(())
    }

    fn check_records(
        &self,
        key: &str,
        value: &[u8],
        acknowledged: &[(usize, Acknowledged)],
    ) -> Result<(), String> {
        let mut last = vec![None; self.submitted.len()];
        for record in value.chunks(RECORD) {
            let (client, number) = self.known(key, record)?;
            // In order also means: none twice.
            if last[client].is_some_and(|last| last >= number) {
                let last = last[client];
                return Err(format!("{key}: {number} of client {client} after {last:?}"));
            }
            last[client] = Some(number);
        }
        for (client, write) in acknowledged {
            let end = usize::try_from(write.length).expect("a length");
            let record = value_of(*client, write.number);
            let found = end.checked_sub(RECORD).and_then(|start| value.get(start..end));
            if found != Some(&record[..]) {
                let record = String::from_utf8_lossy(&record);
                let held = value.len();
                return Err(format!("{key}: {record} acknowledged at {end} of {held} is lost"));
            }
        }
        Ok(())
    }

    /// The client and number of a record that was sent to this key.
    fn known(&self, key: &str, record: &[u8]) -> Result<(usize, u64), String> {
        let strange = || format!("{key}: {:?} was never appended", String::from_utf8_lossy(record));
        let (client, number) = parse(record).ok_or_else(strange)?;
        let submitted = self.submitted.get(client).ok_or_else(strange)?;
        if number >= *submitted || key_of(client, number) != key || !is_appender(client) {
            return Err(strange());
        }
        Ok((client, number))
    }
}

fn parse(record: &[u8]) -> Option<(usize, u64)> {
    let text = std::str::from_utf8(record).ok()?;
    let (client, number) = text.strip_prefix('c')?.strip_suffix(';')?.split_once('n')?;
    Some((client.parse().ok()?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::load::APPENDERS;
    use super::*;

    const APPENDER: usize = 1;
    const FILLER: usize = APPENDERS;

    fn expected() -> Expected {
        let mut ledgers: Vec<_> = (0..=FILLER).map(|_| Ledger::default()).collect();
        ledgers[APPENDER].submitted = 100;
        ledgers[FILLER].submitted = 100;
        let write = |mark, number, length| Acknowledged { mark, number, length };
        let records = vec![write(10, 0, 12), write(20, 8, 24)];
        ledgers[APPENDER].acknowledged.insert(key_of(APPENDER, 0), records);
        ledgers[FILLER]
            .acknowledged
            .insert(key_of(FILLER, 0), vec![write(10, 0, 0), write(30, 2, 0)]);
        Expected::new(&ledgers)
    }

    /// The first complaint about a disk whose write log had `mark` bytes and that holds `values`.
    fn complaint(mark: u64, values: [&[u8]; 2]) -> Option<String> {
        let expected = expected();
        let values =
            BTreeMap::from([(key_of(FILLER, 0), values[1]), (key_of(APPENDER, 0), values[0])]);
        expected
            .until(mark)
            .find_map(|(key, writes)| expected.check(key, Some(values[key]), &writes).err())
    }

    #[test]
    fn what_was_acknowledged_in_time_is_demanded() {
        let (first, second) = (&value_of(FILLER, 0)[..], &value_of(FILLER, 2)[..]);
        assert_eq!(complaint(5, [b"", b""]), None);
        assert_eq!(complaint(10, [b"c001n000000;", first]), None);
        assert_eq!(complaint(10, [b"c001n000000;c001n000008;c001n000016;", second]), None);
        let lost = complaint(20, [b"c001n000000;", first]).expect("the second record is lost");
        assert!(lost.contains("c001n000008; acknowledged at 24 of 12"), "{lost}");
        let old = complaint(30, [b"c001n000000;c001n000008;", first]).expect("an old version");
        assert!(old.contains("version 0, but 2 was acknowledged"), "{old}");
    }

    #[test]
    fn what_was_never_written_is_found_out() {
        let first = &value_of(FILLER, 0)[..];
        let mut mixed = value_of(FILLER, 2);
        mixed[..8].copy_from_slice(&0u64.to_le_bytes());
        for (values, cause) in [
            ([&b"c001n000000;c001n000000;"[..], first], "0 of client 1 after"),
            ([b"c001n000000;c001n000800;", first], "never appended"),
            ([b"c001n000000;c001n000001;", first], "never appended"),
            ([b"c001n000000;c001n", first], "never appended"),
            ([b"c001n000000;", &mixed], "not what was put"),
            ([b"c001n000000;", b"short"], "not a value that was ever put"),
        ] {
            let complaint = complaint(10, values).expect(cause);
            assert!(complaint.contains(cause), "{complaint}");
        }
    }
}

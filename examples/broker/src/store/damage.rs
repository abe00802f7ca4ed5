//! Files that do not hold what was written: a damaged database is distinguished from an intact one, and never gives wrong pairs.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::redb::RedbStore;
use super::testing::{self, Changes, Random, TempDir, pairs};
use super::{Pair, Store as _, StoreError};

/// A database of some batches, as bytes of its file, and its pairs after the last batch and after the one before.
fn database(is_closed: bool) -> (Vec<u8>, [Vec<Pair>; 2]) {
    let dir = TempDir::new();
    let mut store = RedbStore::open(dir.path()).unwrap();
    let mut random = Random::new(1);
    let held = [40, 1].map(|count| {
        for _ in 0..count {
            let number = testing::last_number(&pairs(&store)) as u64 + 1;
            store.commit(Changes::random(number, &mut random).changes()).unwrap();
        }
        pairs(&store)
    });
    let [before, last] = held;
    let path = dir.path().join("state.redb");
    let open = fs::read(&path).unwrap();
    store.close().unwrap();
    (if is_closed { fs::read(&path).unwrap() } else { open }, [last, before])
}

/// Opens a database that has the bytes of its file.
fn open(bytes: &[u8]) -> Result<Vec<Pair>, StoreError> {
    let dir = TempDir::new();
    fs::write(dir.path().join("state.redb"), bytes).unwrap();
    // The library must not panic, but the message says where it has.
    catch_unwind(AssertUnwindSafe(|| RedbStore::open(dir.path()).map(|store| pairs(&store)))).expect("no panic")
}

fn assert_damaged(opened: Result<Vec<Pair>, StoreError>, what: &str) {
    match opened {
        Err(error @ StoreError::Damaged { .. }) => {
            let text = error.to_string();
            assert!(text.contains("state.redb is damaged: ") && text.contains("put a copy in its place"), "{text}");
        }
        Err(error) => panic!("{what}: {error}"),
        Ok(found) => panic!("{what}: opened with {} pairs", found.len()),
    }
}

#[test]
fn another_file_is_refused() {
    assert_damaged(open(b""), "an empty file");
    assert!(open(b"").unwrap_err().to_string().contains("the file is empty"), "it is not made a new database");
    assert_damaged(open(b"x"), "a short file");
    assert_damaged(open(&[b'x'; 100_000]), "a file of something else");
    assert_damaged(open(&[0; 100_000]), "a file of zeros");
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let (bytes, [held, _]) = database(true);
    assert!(open(&bytes).unwrap() == held);
    let mut random = Random::new(2);
    for _ in 0..20 {
        let end = random.below(bytes.len());
        assert_damaged(open(&bytes[..end]), &format!("{end} of {} bytes", bytes.len()));
    }
}

/// What is damaged may be free, or may be a copy that is not needed. Otherwise the database is refused. There is one exception: if
/// the broker died, a damage of its last commit looks like a commit that was not finished, so the state before it is found.
#[test]
fn a_changed_byte_is_noticed_or_changes_nothing() {
    for is_closed in [true, false] {
        let (bytes, [last, before]) = database(is_closed);
        let mut random = Random::new(3);
        let mut refused = 0;
        for round in 0..75 {
            // The header and the first pages matter most.
            let at = random.below([512, 16 * 1024, bytes.len()][round % 3]);
            let mut changed = bytes.clone();
            changed[at] ^= 1 << random.below(8);
            match open(&changed) {
                Ok(found) => assert!(found == last || !is_closed && found == before, "byte {at}: other pairs"),
                Err(StoreError::Damaged { .. }) => refused += 1,
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
        assert!(refused > 2, "some bytes matter: {refused}");
    }
}

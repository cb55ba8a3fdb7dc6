//! Whether entries of an index whose rows the table does not have are left over from rows that were deleted,
//! or all that is left of rows that the table lost.

use std::collections::HashSet;

use super::{Compared, Sides, Trouble};
use crate::sqlite::btree::{Pages, Stored};
use crate::sqlite::integrity::shape::Shape;
use crate::sqlite::integrity::values::{Hash, hash};

impl Sides<'_> {
    /// Looks for entries of these rows, which the table does not have, in its other indexes. Where another
    /// one has them too, the table may have lost the rows: nobody rebuilds over them. Where none has, they
    /// were deleted.
    pub(super) fn look_for_lost_rows(
        &self,
        rows: &HashSet<Hash>,
        compared: &mut Compared,
    ) -> Result<(), Trouble> {
        if rows.is_empty() {
            return Ok(());
        }
        let found = &mut compared.comparison;
        let others: Vec<String> = self
            .connection
            .prepare(
                "SELECT name FROM pragma_index_list(?1)
                 WHERE name <> ?2 AND NOT (origin = 'pk' AND ?3) ORDER BY name",
            )?
            .query_map(
                rusqlite::params![found.table, found.index, !self.shape.has_rowid],
                |row| row.get(0),
            )?
            .collect::<Result<_, _>>()?;
        let (mut named_in, mut asked) = (Vec::new(), false);
        let mut lost: HashSet<Hash> = HashSet::new();
        for other in others {
            let Ok(shape) = Shape::read(self.connection, &other, &found.table)? else {
                continue;
            };
            let mut named: HashSet<Hash> = HashSet::new();
            let mut visit = |entry: &[Stored<'_>]| {
                let identity: Vec<Stored<'_>> =
                    shape.identity.iter().map(|at| entry[*at]).collect();
                let identity = hash(&identity);
                if rows.contains(&identity) {
                    named.insert(identity);
                }
                Ok::<(), Trouble>(())
            };
            let mut pages = Pages::open(self.connection)?;
            let walked = pages.walk(shape.root, shape.parts.len(), &mut visit)?;
            let is_whole = walked.unreadable.is_nothing() && walked.long == 0;
            asked |= is_whole && shape.has_every_row();
            if !named.is_empty() {
                lost.extend(named);
                named_in.push(other);
            }
        }
        found.lost_rows = lost.len() as u64;
        found.removable.without_row -= found.lost_rows.min(found.removable.without_row);
        if let Some(first) = named_in.first() {
            found.unproven = Some(format!(
                "{} entries without a row are in index `{first}` as well: the table seems to have \
                 lost these rows, and the indexes are all that is left of them",
                found.lost_rows
            ));
        } else if !asked {
            found.unasked_rows = found.removable.without_row;
            if found.unasked_rows > 0 {
                found.unproven = Some(format!(
                    "{} entries have no row, and the table has no other index that could tell whether \
                     these rows were deleted or lost: this index may be all that is left of them; \
                     compare it with a backup, then run REINDEX",
                    found.unasked_rows
                ));
            }
        }
        Ok(())
    }
}

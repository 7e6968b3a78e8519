//! Tables in which each value lies once and is named by its place.

use std::collections::HashMap;
use std::hash::Hash;

/// Values in the order in which they came.
pub struct Table<T> {
    values: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T: Clone + Eq + Hash> Table<T> {
    /// `first` is what place 0 stands for: both formats ask for an empty value there.
    pub fn starting_with(first: T) -> Table<T> {
        let mut table = Table { values: Vec::new(), places: HashMap::new() };
        table.place(first);
        table
    }

    pub fn place(&mut self, value: T) -> usize {
        if let Some(place) = self.places.get(&value) {
            return *place;
        }
        let place = self.values.len();
        self.values.push(value.clone());
        self.places.insert(value, place);
        place
    }

    pub fn into_values(self) -> Vec<T> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_place() {
        let mut table = Table::starting_with("");
        assert_eq!(
            (table.place("a"), table.place("b"), table.place("a"), table.place("")),
            (1, 2, 1, 0)
        );
        assert_eq!(table.into_values(), ["", "a", "b"]);
    }
}

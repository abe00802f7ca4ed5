//! Branches that cannot happen.

/// Marks a branch that cannot happen: it panics where debug assertions are on, in tests, simulations and fuzzing, and does
/// nothing elsewhere. What follows the macro is the fallback, so that a mistake of this crate never ends the program that
/// uses it.
macro_rules! bug {
    ($($why:tt)+) => {
        debug_assert!(false, $($why)+)
    };
}

//! The small programs of `examples/` run, each as a test.

#[path = "../../examples/erase.rs"]
mod erase;
#[path = "../../examples/explain.rs"]
mod explain;
#[path = "../../examples/first.rs"]
mod first;
#[path = "../../examples/fold.rs"]
mod fold;

#[test]
fn a_first_program_records_and_asks() {
    first::main().unwrap();
}

#[test]
fn a_program_explains_a_person_and_what_keeps_two_apart() {
    explain::main().unwrap();
}

#[test]
fn a_program_erases_a_person_and_prints_the_receipt() {
    erase::main().unwrap();
}

#[test]
fn a_program_folds_a_log_and_sees_a_retract() {
    fold::main().unwrap();
}

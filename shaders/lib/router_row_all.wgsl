// Every group stays in the race.
fn keep_groups(at: Lane, row: u32) {
}

// Slots and weights of a token's choices, looked up again for each block of columns: too many to keep.
fn look_up(token: u32) {
}

fn choice_count() -> u32 {
    return params.choices;
}

fn slot_of(token: u32, choice: u32) -> u32 {
    return table_at(token, choice);
}

fn factor_of(token: u32, choice: u32) -> f32 {
    return weight_of(token, choice);
}

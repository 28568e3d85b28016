// Slots and weights of a token's choices, looked up once. CHOICES is a constant, so that compilers unroll these loops and
// keep all of them in registers.
var<private> kept_slots: array<u32, CHOICES>;
var<private> kept_weights: array<f32, CHOICES>;

fn look_up(token: u32) {
    for (var j = 0u; j < CHOICES; j++) {
        kept_slots[j] = table_at(token, j);
        kept_weights[j] = weight_of(token, j);
    }
}

fn choice_count() -> u32 {
    return CHOICES;
}

fn slot_of(token: u32, choice: u32) -> u32 {
    return kept_slots[choice];
}

fn factor_of(token: u32, choice: u32) -> f32 {
    return kept_weights[choice];
}

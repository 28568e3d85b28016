// Rows from a count on are padding.
fn is_valid(row: u32) -> bool {
    return row < valid[params.valid_offset];
}

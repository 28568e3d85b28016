fn position_of(row: u32) -> i32 {
    return i32(row % params.queries) + params.diagonal;
}

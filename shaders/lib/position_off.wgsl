fn position_of(row: u32) -> i32 {
    return 0;
}

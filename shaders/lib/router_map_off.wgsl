fn mapped(column: u32) -> u32 {
    return column;
}

// What an expert is called on this shard.
fn mapped(column: u32) -> u32 {
    return map[params.map_offset + column];
}

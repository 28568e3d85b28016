@group(0) @binding(3) var<storage, read> table: array<u32>;

fn table_at(row: u32, column: u32) -> u32 {
    return table[params.table_offset + row * params.table_stride + column];
}

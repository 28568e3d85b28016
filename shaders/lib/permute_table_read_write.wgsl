// In a buffer that the same dispatch writes to: WebGPU wants every binding of it read-write.
@group(0) @binding(3) var<storage, read_write> table: array<u32>;

fn table_at(row: u32, column: u32) -> u32 {
    return table[params.table_offset + row * params.table_stride + column];
}

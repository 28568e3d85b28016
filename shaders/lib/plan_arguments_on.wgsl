@group(0) @binding(10) var<storage, read_write> arguments: array<u32>;

// Of an indirect dispatch: workgroups for the rows of an expert.
fn put_arguments(expert: u32, count: u32) {
    let i = params.arguments_offset + expert * params.arguments_stride;
    arguments[i] = count / params.rows_per_group + u32(count % params.rows_per_group > 0u);
    arguments[i + 1u] = params.groups_y;
    arguments[i + 2u] = 1u;
}

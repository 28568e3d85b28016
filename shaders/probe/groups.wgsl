// Every workgroup of a dispatch leaves its number.

@group(0) @binding(0) var<storage, read_write> numbers: array<u32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    numbers[group.x] = group.x + 1u;
}

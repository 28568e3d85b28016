// Products and sums of the device's own 16-bit floats: the bits of both.

@group(0) @binding(0) var<storage, read> operands: array<vec2<f16>>;
@group(0) @binding(1) var<storage, read_write> results: array<vec2<f16>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&operands)) {
        let pair = operands[id.x];
        results[id.x] = vec2<f16>(pair.x * pair.y, pair.x + pair.y);
    }
}

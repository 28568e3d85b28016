// Rows without gaps between them, from a multiple of four on.
@group(0) @binding(6) var<storage, read_write> inverse: array<vec4<u32>>;

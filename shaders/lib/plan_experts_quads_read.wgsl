// Rows without gaps between them, from a multiple of four on.
@group(0) @binding(1) var<storage, read> experts: array<vec4<u32>>;

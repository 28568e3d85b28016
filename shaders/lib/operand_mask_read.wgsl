@group(0) @binding(4) var<storage, read> mask: array<Mask>;

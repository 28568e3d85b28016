// Rows with a 1 at the column that sampling has chosen: the forward pass of straight-through estimators.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let piece = piece_of(index, at);
    let choice = choice_of(piece.row);
    var none = 0.0;
    if (choice == EMPTY) {
        none = bitcast<f32>(params.empty);
    } else if (choice >= INFINITY_SEEN) {
        none = bitcast<f32>(params.nan);
    }
    for (var q = piece.first + at.first; q < piece.end; q += at.step) {
        let column = vec4(q * 4u) + vec4(0u, 1u, 2u, 3u);
        store_quad(piece.dst, q, select(vec4(none), vec4(1.0), column == vec4(choice)));
    }
}

// Perturbed logits: what Gumbel-Softmax takes the softmax of and Gumbel-max sampling the arg max, before the temperature.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let piece = piece_of(index, at);
    let row = row_of(piece.row);
    for (var q = piece.first + at.first; q < piece.end; q += at.step) {
        store_quad(piece.dst, q, logits(row, q));
    }
}

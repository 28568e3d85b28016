// Sampling in levels, each a Gumbel-max of its own: which share of the row's mass, then which column of that share. A share
// is won with its probability, as ln(share) plus one Gumbel variate is the greatest of as many variates as it has columns.

// What mass `mine` brings to a level with that total.
fn entrant(stream: Stream, domain: u32, index: u32, step: u32, mine: Partial, total: Partial) -> Partial {
    let share = moved(mine, total.anchor, total.exponent).sum;
    if (max(mine.exponent, total.exponent) >= INFINITE || mine.exponent == NOTHING || share < 0x1p-126) {
        return no_mass();
    }
    let noise = gumbel(noise_words(stream, domain, index)).x;
    let score = ln(share, 0).sum + noise;   // unfenced: a share is a sum of exponentials, which rounding decides anyway
    return Partial(score, -i32(index), f32(step), 0.0);
}

// One invocation's best of the columns of one block: quads first + block, and every `step` further, before `end`.
fn member_of(row: Row, at: Lane, first: u32, end: u32, block: u32, step: u32) -> Partial {
    var member = no_mass();
    for (var q = first + block + step * at.first; q < end; q += step * at.step) {
        let x = logits(row, q);
        member = better(member, x, fenced(x) + fenced(gumbel(noise_words(row.stream, MEMBER, q))), q);
    }
    return member;
}

// The column of a row: at temperature 0 and in rows without a distribution, what the total says.
fn choice_of(row: Row, total: Partial, member: Partial) -> Partial {
    if (!is_possible(temperature_of(row.index))) {
        return Partial(0.0, NOT_A_NUMBER, 0.0, 0.0);
    }
    if (row.hard || !is_ordinary(total)) {
        return Partial(total.anchor, total.exponent, total.anchor, 0.0);
    }
    return member;
}

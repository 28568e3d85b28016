// What stands for a column where there is none to choose: `sample::Status` in src/kernel/sample.rs.
const EMPTY = 0xffffffffu;
const NAN_SEEN = 0xfffffffeu;
const INFINITY_SEEN = 0xfffffffdu;

//! The tests that keep the book true, one binary. `tutorial` holds the programs that its pages show.

mod book;
mod bugs;
mod figure_2;
mod mutants;
mod reference;
mod storage;
mod tutorial;

//! Nothing but tests, which are in the folder beside this.

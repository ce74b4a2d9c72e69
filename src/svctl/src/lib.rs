//! svctl: the command line of svd

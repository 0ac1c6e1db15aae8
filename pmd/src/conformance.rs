//! The conformance suite: what every port driver and every engine must do, written once.

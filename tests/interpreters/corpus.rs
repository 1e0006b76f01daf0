//! Published startup files, if there is a collection of them.

package toolchain.face

/** Input that cannot be used; the message says which, why, and what to do. */
class Refusal(message: String, cause: Throwable? = null) : Exception(message, cause)

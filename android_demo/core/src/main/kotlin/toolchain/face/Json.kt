package toolchain.face

/**
 * Strict JSON (RFC 8259) as plain Kotlin values.
 *
 * Objects are maps in the order of the text, arrays are lists, whole numbers are [Long], others [Double].
 */
object Json {
    /**
     * Decodes one document.
     *
     * @throws Refusal the text is no JSON, has a key twice in one object, or something behind its end.
     */
    fun read(text: String): Any? = Reader(text).document()

    /**
     * Encodes maps with text keys, lists, texts, numbers, booleans and null.
     *
     * @throws Refusal a number is not finite, or a value is of another kind.
     */
    fun write(value: Any?): String = StringBuilder().also { append(it, value) }.toString()

    private fun append(out: StringBuilder, value: Any?) {
        when (value) {
            null, is Boolean -> out.append(value)
            is String -> appendText(out, value)
            is Double -> appendFinite(out, value)
            is Float -> appendFinite(out, value.toDouble())
            is Int, is Long -> out.append(value)
            is Map<*, *> -> appendAll(out, value.entries, '{', '}') { (key, item) ->
                appendText(out, key as? String ?: throw Refusal("JSON keys are texts, not $key"))
                out.append(": ")
                append(out, item)
            }
            is Iterable<*> -> appendAll(out, value, '[', ']') { append(out, it) }
            else -> throw Refusal("JSON cannot express ${value::class.java.name}")
        }
    }

    private fun <T> appendAll(out: StringBuilder, items: Iterable<T>, open: Char, close: Char, one: (T) -> Unit) {
        out.append(open)
        items.forEachIndexed { number, item ->
            if (number > 0) out.append(", ")
            one(item)
        }
        out.append(close)
    }

    private fun appendFinite(out: StringBuilder, value: Double) {
        if (!value.isFinite()) throw Refusal("JSON cannot express the number $value")
        out.append(value)
    }

    private fun appendText(out: StringBuilder, text: String) {
        out.append('"')
        for (letter in text) {
            when {
                letter == '"' || letter == '\\' -> out.append('\\').append(letter)
                letter < ' ' -> out.append("\\u%04x".format(letter.code))
                else -> out.append(letter)
            }
        }
        out.append('"')
    }

    private class Reader(private val text: String) {
        private var at = 0
        private var depth = 0

        fun document(): Any? {
            val value = value()
            skipSpace()
            if (at < text.length) fail("something follows the document")
            return value
        }

        private fun value(): Any? {
            skipSpace()
            return when (val next = peek()) {
                '{' -> nested { members() }
                '[' -> nested { items() }
                '"' -> string()
                't' -> word("true", true)
                'f' -> word("false", false)
                'n' -> word("null", null)
                else -> if (next == '-' || next in '0'..'9') number() else fail("no value")
            }
        }

        private fun <T> nested(read: () -> T): T {
            if (++depth > DEEPEST) fail("too deep")
            at++
            return read().also { depth-- }
        }

        private fun members(): Map<String, Any?> {
            val found = LinkedHashMap<String, Any?>()
            skipSpace()
            if (taken('}')) return found
            do {
                skipSpace()
                if (peek() != '"') fail("no key")
                val key = string()
                skipSpace()
                if (!taken(':')) fail("no ':' after key '$key'")
                if (key in found) fail("key '$key' is there twice")
                found[key] = value()
                skipSpace()
            } while (taken(','))
            if (!taken('}')) fail("an object does not end")
            return found
        }

        private fun items(): List<Any?> {
            val found = ArrayList<Any?>()
            skipSpace()
            if (taken(']')) return found
            do {
                found.add(value())
                skipSpace()
            } while (taken(','))
            if (!taken(']')) fail("a list does not end")
            return found
        }

        private fun string(): String {
            at++
            val found = StringBuilder()
            while (true) {
                when (val letter = next()) {
                    '"' -> return found.toString()
                    '\\' -> found.append(escaped())
                    else -> if (letter < ' ') fail("a control character in a text") else found.append(letter)
                }
            }
        }

        private fun escaped(): Char = when (val letter = next()) {
            '"', '\\', '/' -> letter
            'b' -> '\b'
            'f' -> '\u000c'
            'n' -> '\n'
            'r' -> '\r'
            't' -> '\t'
            'u' -> {
                val digits = text.substring(at, minOf(at + 4, text.length))
                if (digits.length < 4 || !digits.all { it in '0'..'9' || it in 'a'..'f' || it in 'A'..'F' }) {
                    fail("no four digits after \\u")
                }
                at += 4
                digits.toInt(16).toChar()
            }
            else -> fail("an unknown escape '\\$letter'")
        }

        private fun number(): Number {
            val found = NUMBER.matchAt(text, at)?.value ?: fail("no number")
            at += found.length
            val whole = found.none { it == '.' || it == 'e' || it == 'E' }
            return (if (whole) found.toLongOrNull() else null) ?: found.toDouble()
        }

        private fun <T> word(word: String, value: T): T {
            if (!text.startsWith(word, at)) fail("no value")
            at += word.length
            return value
        }

        private fun skipSpace() {
            while (at < text.length && text[at] in SPACE) at++
        }

        private fun peek(): Char = if (at < text.length) text[at] else fail("the text ends too early")

        private fun next(): Char = peek().also { at++ }

        private fun taken(letter: Char): Boolean = (at < text.length && text[at] == letter).also { if (it) at++ }

        private fun fail(why: String): Nothing = throw Refusal("no JSON: $why (character ${at + 1})")
    }

    private const val DEEPEST = 200
    private const val SPACE = " \t\r\n"
    private val NUMBER = Regex("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")
}

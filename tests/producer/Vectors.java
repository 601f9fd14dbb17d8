// What Java's client makes of keys and numbers, for a test to compare: run from its source by `java`, with Kafka's jars.
// A line of hexadecimal bytes in, the hash and the partitions of that key out; then the serializers' bytes, and what is said of null keys.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.common.utils.Utils;

public class Vectors {
    static final int[] COUNTS = {1, 2, 3, 8, 12, 100, 1000};

    public static void main(String[] arguments) throws Exception {
        HexFormat hex = HexFormat.of();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder out = new StringBuilder();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            byte[] key = hex.parseHex(line.trim());
            out.append(line.trim()).append(' ').append(Utils.murmur2(key));
            for (int count : COUNTS) {
                out.append(' ').append(BuiltInPartitioner.partitionForKey(key, count));
            }
            out.append('\n');
        }
        out.append("short ").append(hex.formatHex(new ShortSerializer().serialize("t", (short) -2))).append('\n');
        out.append("integer ").append(hex.formatHex(new IntegerSerializer().serialize("t", -123456789))).append('\n');
        out.append("long ").append(hex.formatHex(new LongSerializer().serialize("t", Long.MIN_VALUE + 7))).append('\n');
        out.append("float ").append(hex.formatHex(new FloatSerializer().serialize("t", 1.5f))).append('\n');
        out.append("double ").append(hex.formatHex(new DoubleSerializer().serialize("t", -0.1))).append('\n');
        out.append("string ").append(hex.formatHex(new StringSerializer().serialize("t", "Grüße"))).append('\n');
        out.append("null ").append(new StringSerializer().serialize("t", null) == null).append('\n');
        System.out.print(out);
    }
}

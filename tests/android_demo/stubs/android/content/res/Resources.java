package android.content.res;

public class Resources { public int getInteger(int id) { return 0; } }
